// The tiles of attention: L x S scores never exist at once (Dao, 2023).
//
// Compiled with D (64 or 128 channels per head; fewer are filled up with zeros), MODE 0 float32 (each
// product as three TF32 products of the high and low halves, which keeps float32's digits),
// 1 TF32, 2 bfloat16; WARPS warps per block, tiles of N rows. A warp owns 16 rows of an operand A,
// which it keeps in registers; the block's warps share tiles of N rows of the other operand in shared
// memory. Two products serve forward and backward:
//   times_transposed   acc(16, N) += A(16, D) · X(N, D)ᵀ
//   times              acc(16, D) += P(16, N) · X(N, D),   P as times_transposed left it
// The gradients of k and v have a separate kernel, so that nothing is added up atomically: the
// result never changes from run to run.
//
// Compiled with MASK 1 (bytes: which keys a query may see) or 2 (numbers that are added to the scores),
// and with DROPOUT 1 (weights kept by Philox's stream of a seed) or 2 (by bytes), else 0. A mask and
// bytes to keep have steps over batch, head, row and column, in elements.
#define ROWS (16 * WARPS)
#define NT (N / 8)
#define DT (D / 8)

#if MODE == 2
typedef bf16 T;
#define STRIDE (D + 8)
#define STEPS (D / 16)
typedef u32 Part;
#else
typedef float T;
#define STRIDE (D + 4)
#define STEPS (D / 8)
typedef float Part;
#endif
#define CHUNK (16 / (int)sizeof(T))  // elements of a 16-byte copy

__device__ __forceinline__ void copy16(T* to, const T* from, bool real) {
    u32 address = (u32)__cvta_generic_to_shared(to);
    int bytes = real ? 16 : 0;  // missing elements become 0
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(bytes));
}
__device__ __forceinline__ void load_tile(T* tile, const T* x, i64 row_stride, int first, int rows, int d) {
    for (int i = threadIdx.x; i < N * (D / CHUNK); i += 32 * WARPS) {
        int r = i / (D / CHUNK), c = i % (D / CHUNK) * CHUNK;
        bool real = first + r < rows && c < d;
        copy16(tile + r * STRIDE + c, real ? x + (i64)(first + r) * row_stride + c : x, real);
    }
}
__device__ __forceinline__ void commit() { asm volatile("cp.async.commit_group;"); }
__device__ __forceinline__ void wait_all() { asm volatile("cp.async.wait_group 0;"); }

// rows first + g and first + g + 8 of x as the left operand, in a lane's registers
__device__ __forceinline__ void load_a(Part a[STEPS][4], const T* x, i64 row_stride, int first, int rows,
                                       int d) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    #pragma unroll
    for (int k = 0; k < STEPS; k++)
        #pragma unroll
        for (int j = 0; j < 4; j++) {
            int r = first + g + 8 * (j & 1);
#if MODE == 2
            int c = 16 * k + 2 * t + 8 * (j >> 1);
            a[k][j] = r < rows && c < d ? *(const u32*)(x + (i64)r * row_stride + c) : 0u;
#else
            int c = 8 * k + t + 4 * (j >> 1);
            a[k][j] = r < rows && c < d ? x[(i64)r * row_stride + c] : 0.f;
#endif
        }
}

#if MODE == 2
__device__ __forceinline__ void mma(float c[4], const u32 a[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};" : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void times_transposed(float acc[NT][4], const u32 a[STEPS][4], const T* x) {
    const int lane = threadIdx.x % 32;
    #pragma unroll
    for (int n = 0; n < NT; n++)
        #pragma unroll
        for (int k = 0; k < STEPS; k += 2) {
            u32 b0, b1, b2, b3;
            u32 p = (u32)__cvta_generic_to_shared(x + (8 * n + lane % 8) * STRIDE + 16 * k + lane / 8 * 8);
            asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                : "=r"(b0), "=r"(b1), "=r"(b2), "=r"(b3) : "r"(p));
            mma(acc[n], a[k], b0, b1);
            mma(acc[n], a[k + 1], b2, b3);
        }
}
__device__ __forceinline__ void times(float acc[DT][4], const float s[NT][4], const T* x) {
    const int lane = threadIdx.x % 32;
    #pragma unroll
    for (int k = 0; k < NT / 2; k++) {
        u32 a[4] = {pack(s[2 * k][0], s[2 * k][1]), pack(s[2 * k][2], s[2 * k][3]),
                    pack(s[2 * k + 1][0], s[2 * k + 1][1]), pack(s[2 * k + 1][2], s[2 * k + 1][3])};
        #pragma unroll
        for (int n = 0; n < DT; n += 2) {
            u32 b0, b1, b2, b3;
            u32 p = (u32)__cvta_generic_to_shared(
                x + (16 * k + lane / 8 % 2 * 8 + lane % 8) * STRIDE + 8 * n + lane / 16 * 8);
            asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                : "=r"(b0), "=r"(b1), "=r"(b2), "=r"(b3) : "r"(p));
            mma(acc[n], a, b0, b1);
            mma(acc[n + 1], a, b2, b3);
        }
    }
}
#else
__device__ __forceinline__ u32 tf32(float x) {
    u32 r;
#if MODE == 0  // volatile: too few registers to keep the halves of an operand for the next tile
    asm volatile("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(x));
#else
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(x));
#endif
    return r;
}
__device__ __forceinline__ void mma(float c[4], const u32 a[4], const u32 b[2]) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};" : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
struct Halves { u32 high[4], low[4]; };
__device__ __forceinline__ Halves halves(float a0, float a1, float a2, float a3) {
    Halves h;
    float x[4] = {a0, a1, a2, a3};
    #pragma unroll
    for (int i = 0; i < 4; i++) {
        h.high[i] = tf32(x[i]);
        h.low[i] = MODE == 0 ? tf32(x[i] - __uint_as_float(h.high[i])) : 0u;
    }
    return h;
}
__device__ __forceinline__ void product(float c[4], const Halves& a, float b0, float b1) {
    u32 high[2] = {tf32(b0), tf32(b1)};
    if (MODE == 0) {
        u32 low[2] = {tf32(b0 - __uint_as_float(high[0])), tf32(b1 - __uint_as_float(high[1]))};
        mma(c, a.high, low);
        mma(c, a.low, high);
    }
    mma(c, a.high, high);
}
__device__ __forceinline__ void times_transposed(float acc[NT][4], const float a[STEPS][4], const T* x) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    #pragma unroll
    for (int k = 0; k < STEPS; k++) {
        Halves h = halves(a[k][0], a[k][1], a[k][2], a[k][3]);
        #pragma unroll
        for (int n = 0; n < NT; n++) {
            const T* p = x + (8 * n + g) * STRIDE + 8 * k + t;
            product(acc[n], h, p[0], p[4]);
        }
    }
}
// The left operand's k-th column is P's column 2t or 2t + 1 of a tile, and so are X's rows.
__device__ __forceinline__ void times(float acc[DT][4], const float s[NT][4], const T* x) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    #pragma unroll
    for (int k = 0; k < NT; k++) {
        Halves h = halves(s[k][0], s[k][2], s[k][1], s[k][3]);
        const T* p = x + (8 * k + 2 * t) * STRIDE + g;
        #pragma unroll
        for (int n = 0; n < DT; n++) product(acc[n], h, p[8 * n], p[STRIDE + 8 * n]);
    }
}
#endif

template <int M>
__device__ __forceinline__ void clear(float acc[M][4]) {
    #pragma unroll
    for (int i = 0; i < M; i++) acc[i][0] = acc[i][1] = acc[i][2] = acc[i][3] = 0.f;
}
__device__ __forceinline__ float quad_sum(float x) {
    x += __shfl_xor_sync(FULL, x, 1);
    return x + __shfl_xor_sync(FULL, x, 2);
}
__device__ __forceinline__ float quad_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(FULL, x, 1));
    return fmaxf(x, __shfl_xor_sync(FULL, x, 2));
}
// a warp's 16 rows of a result, scaled: two channels at a time
__device__ __forceinline__ void write_rows(T* y, i64 row_stride, int first, int rows, int d,
                                           const float acc[DT][4], float s0, float s1) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    #pragma unroll
    for (int n = 0; n < DT; n++) {
        int c = 8 * n + 2 * t;
        if (c >= d) continue;
        #pragma unroll
        for (int half = 0; half < 2; half++) {
            int r = first + g + 8 * half;
            if (r >= rows) continue;
            float s = half ? s1 : s0, u = acc[n][2 * half] * s, v = acc[n][2 * half + 1] * s;
            T* p = y + (i64)r * row_stride + c;
#if MODE == 2
            *(u32*)p = pack(u, v);
#else
            *(float2*)p = make_float2(u, v);
#endif
        }
    }
}
