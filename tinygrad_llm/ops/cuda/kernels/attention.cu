// Causal or full attention in tiles: L x S scores never exist at once (Dao, 2023).
//
// Compiled with D (64 or 128 channels a head; fewer are filled up with zeros), MODE 0 float32 (each
// product as three TF32 products of the high and low halves, which keeps float32's digits),
// 1 TF32, 2 bfloat16; WARPS warps a block, tiles of N rows. A warp owns 16 rows of an operand A, which it keeps in registers; the block's
// warps share tiles of N rows of the other operand in shared memory. Two products serve forward
// and backward:
//   times_transposed   acc(16, N) += A(16, D) · X(N, D)ᵀ
//   times              acc(16, D) += P(16, N) · X(N, D),   P as times_transposed left it
// The gradients of k and v have kernels of their own, so that nothing is added up atomically: the
// result never changes from run to run.
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
    int bytes = real ? 16 : 0;  // what is not there becomes 0
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
#if MODE == 0  // volatile: the halves of an operand are not kept for the next tile, for want of registers
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

#define SETUP \
    extern __shared__ __align__(16) char memory[]; \
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4; \
    const int L = (int)n_rows, S = (int)n_keys, d = (int)channels; \
    T* tiles = (T*)memory;  /* [2 buffers][2 operands][N][STRIDE] */
#define TILE(buffer, operand) (tiles + ((buffer) * 2 + (operand)) * N * STRIDE)

// y and l = log sum exp(s) of ROWS query rows of one head
extern "C" __global__ void __launch_bounds__(32 * WARPS, 1) attention_forward(
        const T* q, i64 qb, i64 qh, i64 qr, const T* k, i64 kb, i64 kh, i64 kr, const T* v, i64 vb, i64 vh,
        i64 vr, T* y, i64 yb, i64 yh, i64 yr, float* log_sum, i64 heads, i64 group, i64 n_rows, i64 n_keys,
        i64 channels, i64 causal, double scale) {
    SETUP
    const int b = blockIdx.y / heads, h = blockIdx.y % heads;
    const int start = (gridDim.x - 1 - blockIdx.x) * ROWS, first = start + 16 * warp;  // long rows first
    q += b * qb + h * qh, k += b * kb + h / group * kh, v += b * vb + h / group * vh;
    const float to_base2 = (float)scale * 1.4426950408889634f;
    const int keys = causal && start + ROWS < S ? start + ROWS : S;
    load_tile(TILE(0, 0), k, kr, 0, S, d);
    load_tile(TILE(0, 1), v, vr, 0, S, d);
    commit();
    Part a[STEPS][4];
    load_a(a, q, qr, first, L, d);
    float out[DT][4], top[2] = {-INF, -INF}, total[2] = {0.f, 0.f};
    clear<DT>(out);
    for (int at = 0, buffer = 0; at < keys; at += N, buffer ^= 1) {
        wait_all();
        __syncthreads();
        if (at + N < keys) {
            load_tile(TILE(buffer ^ 1, 0), k, kr, at + N, S, d);
            load_tile(TILE(buffer ^ 1, 1), v, vr, at + N, S, d);
            commit();
        }
        if (causal && at > first + 15) continue;  // all in the future of this warp
        float s[NT][4];
        clear<NT>(s);
        times_transposed(s, a, TILE(buffer, 0));
        float m[2] = {top[0], top[1]};
        const bool edge = at + N > S || (causal && at + N > first + 1);
        #pragma unroll
        for (int n = 0; n < NT; n++)
            #pragma unroll
            for (int j = 0; j < 4; j++) {
                int key = at + 8 * n + 2 * t + (j & 1), row = first + g + 8 * (j >> 1);
                s[n][j] *= to_base2;
                if (edge && (key >= S || (causal && key > row))) s[n][j] = -INF;
                m[j >> 1] = fmaxf(m[j >> 1], s[n][j]);
            }
        #pragma unroll
        for (int i = 0; i < 2; i++) {
            m[i] = quad_max(m[i]);
            float c = m[i] == -INF ? 1.f : exp2f(top[i] - m[i]);
            total[i] *= c, top[i] = m[i];
            #pragma unroll
            for (int n = 0; n < DT; n++) out[n][2 * i] *= c, out[n][2 * i + 1] *= c;
        }
        #pragma unroll
        for (int n = 0; n < NT; n++)
            #pragma unroll
            for (int j = 0; j < 4; j++) {
                s[n][j] = m[j >> 1] == -INF ? 0.f : exp2f(s[n][j] - m[j >> 1]);
                total[j >> 1] += s[n][j];
            }
        times(out, s, TILE(buffer, 1));
    }
    float inverse[2];
    #pragma unroll
    for (int i = 0; i < 2; i++) {
        total[i] = quad_sum(total[i]);
        inverse[i] = total[i] > 0.f ? 1.f / total[i] : 0.f;
        int row = first + g + 8 * i;
        if (t == 0 && row < L)
            log_sum[(i64)blockIdx.y * L + row] = top[i] * 0.6931471805599453f + logf(total[i]);
    }
    write_rows(y + b * yb + h * yh, yr, first, L, d, out, inverse[0], inverse[1]);
}

// delta = sum over channels of g*y, one number a query row: a warp a row
extern "C" __global__ void attention_delta(const T* go, i64 gb, i64 gh, i64 gr, const T* y, i64 yb, i64 yh,
                                           i64 yr, float* delta, i64 heads, i64 n_rows, i64 channels) {
    const int row = blockIdx.x * 8 + threadIdx.x / 32, b = blockIdx.y / heads, h = blockIdx.y % heads;
    if (row >= n_rows) return;
    go += b * gb + h * gh + row * gr, y += b * yb + h * yh + row * yr;
    float s = 0.f;
    for (int c = threadIdx.x % 32; c < channels; c += 32) s += to_float(go[c]) * to_float(y[c]);
    s = warp_sum(s);
    if (threadIdx.x % 32 == 0) delta[(i64)blockIdx.y * n_rows + row] = s;
}

// gradient of ROWS query rows
extern "C" __global__ void __launch_bounds__(32 * WARPS, 1) attention_back_q(
        const T* q, i64 qb, i64 qh, i64 qr, const T* k, i64 kb, i64 kh, i64 kr, const T* v, i64 vb, i64 vh,
        i64 vr, const T* go, i64 gb, i64 gh, i64 gr, T* gq, i64 gqb, i64 gqh, i64 gqr, const float* log_sum,
        const float* delta, i64 heads, i64 group, i64 n_rows, i64 n_keys, i64 channels, i64 causal,
        double scale) {
    SETUP
    const int b = blockIdx.y / heads, h = blockIdx.y % heads;
    const int start = (gridDim.x - 1 - blockIdx.x) * ROWS, first = start + 16 * warp;
    q += b * qb + h * qh, k += b * kb + h / group * kh, v += b * vb + h / group * vh, go += b * gb + h * gh;
    const float to_base2 = (float)scale * 1.4426950408889634f;
    const int keys = causal && start + ROWS < S ? start + ROWS : S;
    load_tile(TILE(0, 0), k, kr, 0, S, d);
    load_tile(TILE(0, 1), v, vr, 0, S, d);
    commit();
    Part a[STEPS][4], ga[STEPS][4];
    load_a(a, q, qr, first, L, d);
    load_a(ga, go, gr, first, L, d);
    float l[2], dl[2], out[DT][4];
    #pragma unroll
    for (int i = 0; i < 2; i++) {
        int row = first + g + 8 * i;
        l[i] = row < L ? log_sum[(i64)blockIdx.y * L + row] * 1.4426950408889634f : INF;
        dl[i] = row < L ? delta[(i64)blockIdx.y * L + row] : 0.f;
    }
    clear<DT>(out);
    for (int at = 0, buffer = 0; at < keys; at += N, buffer ^= 1) {
        wait_all();
        __syncthreads();
        if (at + N < keys) {
            load_tile(TILE(buffer ^ 1, 0), k, kr, at + N, S, d);
            load_tile(TILE(buffer ^ 1, 1), v, vr, at + N, S, d);
            commit();
        }
        if (causal && at > first + 15) continue;
        float s[NT][4], p[NT][4];
        clear<NT>(s);
        clear<NT>(p);
        times_transposed(s, a, TILE(buffer, 0));
        times_transposed(p, ga, TILE(buffer, 1));
        #pragma unroll
        for (int n = 0; n < NT; n++)
            #pragma unroll
            for (int j = 0; j < 4; j++) {
                int key = at + 8 * n + 2 * t + (j & 1), row = first + g + 8 * (j >> 1);
                float w = exp2f(s[n][j] * to_base2 - l[j >> 1]);
                if (key >= S || (causal && key > row)) w = 0.f;
                s[n][j] = w * (p[n][j] - dl[j >> 1]);
            }
        times(out, s, TILE(buffer, 0));
    }
    write_rows(gq + b * gqb + h * gqh, gqr, first, L, d, out, (float)scale, (float)scale);
}

// gradients of ROWS key and value rows; the scores are transposed: a row is a key
extern "C" __global__ void __launch_bounds__(32 * WARPS, 1) attention_back_kv(
        const T* q, i64 qb, i64 qh, i64 qr, const T* k, i64 kb, i64 kh, i64 kr, const T* v, i64 vb, i64 vh,
        i64 vr, const T* go, i64 gb, i64 gh, i64 gr, T* gk, i64 gkb, i64 gkh, i64 gkr, T* gv, i64 gvb,
        i64 gvh, i64 gvr, const float* log_sum, const float* delta, i64 heads, i64 group, i64 n_rows,
        i64 n_keys, i64 channels, i64 causal, double scale) {
    SETUP
    __shared__ float ls[2][N], ds[2][N];
    const int key_heads = heads / group, b = blockIdx.y / key_heads, kv = blockIdx.y % key_heads;
    const int start = blockIdx.x * ROWS, first = start + 16 * warp;  // early keys have most queries
    k += b * kb + kv * kh, v += b * vb + kv * vh;
    const float to_base2 = (float)scale * 1.4426950408889634f;
    Part a[STEPS][4], va[STEPS][4];
    load_a(a, k, kr, first, S, d);
    load_a(va, v, vr, first, S, d);
    float out_k[DT][4], out_v[DT][4];
    clear<DT>(out_k);
    clear<DT>(out_v);
    const int from = causal ? start / N * N : 0;  // a key meets the queries from its own on
    for (int r = 0; r < group; r++) {
        const int h = kv * group + r;
        const T *qh_ = q + b * qb + h * qh, *gh_ = go + b * gb + h * gh;
        const i64 row0 = ((i64)b * heads + h) * L;
        __syncthreads();
        for (int at = from - N, buffer = 1; at < L; at += N, buffer ^= 1) {
            if (at >= from) {
                wait_all();
                __syncthreads();
            }
            if (at + N < L) {
                load_tile(TILE(buffer ^ 1, 0), qh_, qr, at + N, L, d);
                load_tile(TILE(buffer ^ 1, 1), gh_, gr, at + N, L, d);
                commit();
                if (threadIdx.x < N) {
                    int row = at + N + threadIdx.x;
                    ls[buffer ^ 1][threadIdx.x] = row < L ? log_sum[row0 + row] * 1.4426950408889634f : INF;
                    ds[buffer ^ 1][threadIdx.x] = row < L ? delta[row0 + row] : 0.f;
                }
            }
            if (at < from || (causal && at + N <= first)) continue;
            float s[NT][4], p[NT][4];
            clear<NT>(s);
            times_transposed(s, a, TILE(buffer, 0));
            #pragma unroll
            for (int n = 0; n < NT; n++)
                #pragma unroll
                for (int j = 0; j < 4; j++) {
                    int row = at + 8 * n + 2 * t + (j & 1), key = first + g + 8 * (j >> 1);
                    s[n][j] = exp2f(s[n][j] * to_base2 - ls[buffer][8 * n + 2 * t + (j & 1)]);
                    if (key >= S || (causal && key > row)) s[n][j] = 0.f;
                }
            times(out_v, s, TILE(buffer, 1));
            clear<NT>(p);
            times_transposed(p, va, TILE(buffer, 1));
            #pragma unroll
            for (int n = 0; n < NT; n++)
                #pragma unroll
                for (int j = 0; j < 4; j++)
                    s[n][j] *= p[n][j] - ds[buffer][8 * n + 2 * t + (j & 1)];
            times(out_k, s, TILE(buffer, 0));
        }
    }
    write_rows(gk + b * gkb + kv * gkh, gkr, first, S, d, out_k, (float)scale, (float)scale);
    write_rows(gv + b * gvb + kv * gvh, gvr, first, S, d, out_v, 1.f, 1.f);
}
