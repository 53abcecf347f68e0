// The kernels of attention, forward and backward, over the tiles of tiles.cuh, which stands before
// this file when it is compiled.
#define LOG2E 1.4426950408889634f
#if MASK == 1
typedef unsigned char MaskType;
#else
typedef T MaskType;
#endif
// the last arguments of every kernel
#define EXTRAS const MaskType* mask, i64 mb, i64 mh, i64 mr, i64 mc, const unsigned char* keep, \
    i64 pb, i64 ph, i64 pr, i64 pc, const i64* live_seed, i64 seed, double kept_share

// a score, times log2(e), with the mask of its place
__device__ __forceinline__ float masked(float s, const MaskType* mask, i64 mr, i64 mc, int row, int key,
                                        int rows, int keys) {
#if MASK == 1
    if (row < rows && key < keys && !mask[row * mr + key * mc]) s = -INF;
#elif MASK == 2
    if (row < rows && key < keys) s += to_float(mask[row * mr + key * mc]) * LOG2E;
#endif
    return s;
}
// exp2(s - l); 0 where s is minus infinity, also in a row that may see no key
__device__ __forceinline__ float weight(float s, float l) { return s == -INF ? 0.f : exp2f(s - l); }

// Philox 4x32-7 (Salmon et al., 2011): eight numbers of 16 bits, for two rows and four keys of a head
__device__ __forceinline__ uint4 philox(u32 rows, u32 keys, u32 head, i64 seed) {
    u32 c0 = rows, c1 = keys, c2 = head, c3 = 0, k0 = (u32)seed, k1 = (u32)(seed >> 32);
    #pragma unroll
    for (int round = 0; round < 7; round++) {
        u32 h0 = __umulhi(0xD2511F53u, c0), l0 = 0xD2511F53u * c0;
        u32 h1 = __umulhi(0xCD9E8D57u, c2), l1 = 0xCD9E8D57u * c2;
        c0 = h1 ^ c1 ^ k0, c1 = l1, c2 = h0 ^ c3 ^ k1, c3 = l0;
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
    return make_uint4(c0, c1, c2, c3);
}
struct Keeper {
    const unsigned char* keep;  // of this head, if DROPOUT is 2
    i64 pr, pc, seed;
    u32 head, below;
    float grown;
    // whether the weights of (row, key) and (row, key + 1) are kept, for an even key: bits 0 and 1
    __device__ __forceinline__ u32 keys(int row, int key, int n_rows, int n_keys) const {
#if DROPOUT == 1
        uint4 r = philox(row >> 1, key >> 2, head, seed);
        u32 w = row & 1 ? (key & 2 ? r.w : r.z) : (key & 2 ? r.y : r.x);
        return (u32)((w & 0xffffu) < below) | (u32)((w >> 16) < below) << 1;
#elif DROPOUT == 2
        if (row >= n_rows) return 0u;
        const unsigned char* p = keep + row * pr;
        return (u32)(key < n_keys && p[key * pc]) | (u32)(key + 1 < n_keys && p[(key + 1) * pc]) << 1;
#else
        return 3u;
#endif
    }
    // the same for (row, key) and (row + 1, key), for an even row
    __device__ __forceinline__ u32 rows(int row, int key, int n_rows, int n_keys) const {
#if DROPOUT == 1
        uint4 r = philox(row >> 1, key >> 2, head, seed);
        u32 w0 = key & 2 ? r.y : r.x, w1 = key & 2 ? r.w : r.z, by = 16 * (key & 1);
        return (u32)((w0 >> by & 0xffffu) < below) | (u32)((w1 >> by & 0xffffu) < below) << 1;
#elif DROPOUT == 2
        if (key >= n_keys) return 0u;
        const unsigned char* p = keep + key * pc;
        return (u32)(row < n_rows && p[row * pr]) | (u32)(row + 1 < n_rows && p[(row + 1) * pr]) << 1;
#else
        return 3u;
#endif
    }
    __device__ __forceinline__ float factor(u32 bits, int which) const {
#if DROPOUT
        return bits >> which & 1u ? grown : 0.f;
#else
        return 1.f;
#endif
    }
};
#define KEEPER(b, h) Keeper{DROPOUT == 2 ? keep + (b) * pb + (h) * ph : keep, pr, pc, \
    DROPOUT == 1 && live_seed ? *live_seed : seed, (u32)((b) * heads + (h)), \
    (u32)(kept_share * 65536. + .5), (float)(1. / kept_share)}

// As `times`, but only with what a row of the result sees: where the product would multiply a hidden
// number by 0, which is NaN if it is infinite or NaN. The tile's rows begin at `at`; the result's rows
// are queries, or keys, which see the queries from their own position on.
__device__ __forceinline__ void times_seen(float acc[DT][4], const float s[NT][4], const T* x, int at,
                                           int first, bool keys) {
    const int lane = threadIdx.x % 32, row = first + lane / 4, t = lane % 4;
    #pragma unroll
    for (int n = 0; n < NT; n++)
        #pragma unroll
        for (int j = 0; j < 2; j++)
            #pragma unroll 1
            for (int q = 0; q < 4; q++) {  // the lane of the four that has this column of s
                const int i = 8 * n + 2 * q + j, other = at + i;
                float w[2] = {__shfl_sync(FULL, s[n][j], (lane & ~3) | q),
                              __shfl_sync(FULL, s[n][2 + j], (lane & ~3) | q)};
                #pragma unroll
                for (int half = 0; half < 2; half++) {
                    if (keys ? row + 8 * half > other : other > row + 8 * half) continue;
                    #pragma unroll
                    for (int m = 0; m < DT; m++) {
                        const T* p = x + i * STRIDE + 8 * m + 2 * t;
                        acc[m][2 * half] += w[half] * to_float(p[0]);
                        acc[m][2 * half + 1] += w[half] * to_float(p[1]);
                    }
                }
            }
}
__device__ __forceinline__ bool not_finite(const float acc[DT][4]) {
    bool found = false;
    #pragma unroll
    for (int n = 0; n < DT; n++)
        #pragma unroll
        for (int j = 0; j < 4; j++) found |= !(fabsf(acc[n][j]) <= 3.4e38f);
    return found;
}
// Whether the block begins again, carefully: a hidden number may have reached a result. In the normal
// case that is one vote of the block.
#define AGAIN(found) (!careful && causal && __syncthreads_or(found))

#define SETUP \
    extern __shared__ __align__(16) char memory[]; \
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4; \
    const int L = (int)n_rows, S = (int)n_keys, d = (int)channels; \
    T* tiles = (T*)memory;  /* [2 buffers][2 operands][N][STRIDE] */
#define TILE(buffer, operand) (tiles + ((buffer) * 2 + (operand)) * N * STRIDE)

// start to copy rows `first` and on of both operands x and y into a buffer
__device__ __forceinline__ void load_pair(T* tiles, int buffer, const T* x, i64 x_stride, const T* y,
                                          i64 y_stride, int first, int rows, int d) {
    load_tile(TILE(buffer, 0), x, x_stride, first, rows, d);
    load_tile(TILE(buffer, 1), y, y_stride, first, rows, d);
    commit();
}

// what a kernel over ROWS query rows of one head begins with: the rows from `first` on as operand a,
// and the copy of the first tiles of its keys and values; blocks with many keys come first
#define SETUP_QUERIES \
    SETUP \
    const int b = blockIdx.y / heads, h = blockIdx.y % heads; \
    const int start = (gridDim.x - 1 - blockIdx.x) * ROWS, first = start + 16 * warp; \
    q += b * qb + h * qh, k += b * kb + h / group * kh, v += b * vb + h / group * vh; \
    const float to_base2 = (float)scale * LOG2E; \
    if (MASK) mask += b * mb + h * mh; \
    [[maybe_unused]] const Keeper keeper = KEEPER(b, h); \
    const int keys = causal && start + ROWS < S ? start + ROWS : S; \
    load_pair(tiles, 0, k, kr, v, vr, 0, S, d); \
    Part a[STEPS][4]; \
    load_a(a, q, qr, first, L, d);

// y and l = log sum exp(s) of ROWS query rows of one head
extern "C" __global__ void __launch_bounds__(32 * WARPS, 1) attention_forward(
        const T* q, i64 qb, i64 qh, i64 qr, const T* k, i64 kb, i64 kh, i64 kr, const T* v, i64 vb, i64 vh,
        i64 vr, T* y, i64 yb, i64 yh, i64 yr, float* log_sum, i64 heads, i64 group, i64 n_rows, i64 n_keys,
        i64 channels, i64 causal, double scale, EXTRAS) {
    SETUP_QUERIES
    float out[DT][4], top[2], total[2];
    bool careful = false;
begin:
    top[0] = top[1] = -INF, total[0] = total[1] = 0.f;
    clear<DT>(out);
    for (int at = 0, buffer = 0; at < keys; at += N, buffer ^= 1) {
        wait_all();
        __syncthreads();
        if (at + N < keys) load_pair(tiles, buffer ^ 1, k, kr, v, vr, at + N, S, d);
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
                s[n][j] = masked(s[n][j] * to_base2, mask, mr, mc, row, key, L, S);
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
#if DROPOUT
        #pragma unroll
        for (int n = 0; n < NT; n++)
            #pragma unroll
            for (int i = 0; i < 2; i++) {
                u32 stay = keeper.keys(first + g + 8 * i, at + 8 * n + 2 * t, L, S);
                s[n][2 * i] *= keeper.factor(stay, 0), s[n][2 * i + 1] *= keeper.factor(stay, 1);
            }
#endif
        if (careful && edge) times_seen(out, s, TILE(buffer, 1), at, first, false);
        else times(out, s, TILE(buffer, 1));
    }
    if (AGAIN(not_finite(out))) {
        careful = true;
        load_pair(tiles, 0, k, kr, v, vr, 0, S, d);
        goto begin;
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

// delta = sum over channels of g*y, one number per query row: a warp for each row
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
        double scale, EXTRAS) {
    SETUP_QUERIES
    Part ga[STEPS][4];
    load_a(ga, go + b * gb + h * gh, gr, first, L, d);
    float l[2], dl[2], out[DT][4];
    #pragma unroll
    for (int i = 0; i < 2; i++) {
        int row = first + g + 8 * i;
        l[i] = row < L ? log_sum[(i64)blockIdx.y * L + row] * LOG2E : INF;
        dl[i] = row < L ? delta[(i64)blockIdx.y * L + row] : 0.f;
    }
    bool careful = false;
begin:
    clear<DT>(out);
    for (int at = 0, buffer = 0; at < keys; at += N, buffer ^= 1) {
        wait_all();
        __syncthreads();
        if (at + N < keys) load_pair(tiles, buffer ^ 1, k, kr, v, vr, at + N, S, d);
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
                float w = weight(masked(s[n][j] * to_base2, mask, mr, mc, row, key, L, S), l[j >> 1]);
                if (key >= S || (causal && key > row)) w = 0.f;
                s[n][j] = w;
            }
        #pragma unroll
        for (int n = 0; n < NT; n++)
            #pragma unroll
            for (int i = 0; i < 2; i++) {
                u32 stay = keeper.keys(first + g + 8 * i, at + 8 * n + 2 * t, L, S);
                #pragma unroll
                for (int j = 0; j < 2; j++) {  // a weight of 0 selects 0: p may be NaN
                    float& w = s[n][2 * i + j];
                    w = w == 0.f ? 0.f : w * (keeper.factor(stay, j) * p[n][2 * i + j] - dl[i]);
                }
            }
        if (careful && at + N > first + 1) times_seen(out, s, TILE(buffer, 0), at, first, false);
        else times(out, s, TILE(buffer, 0));
    }
    if (AGAIN(not_finite(out))) {
        careful = true;
        load_pair(tiles, 0, k, kr, v, vr, 0, S, d);
        goto begin;
    }
    write_rows(gq + b * gqb + h * gqh, gqr, first, L, d, out, (float)scale, (float)scale);
}

// gradients of ROWS key and value rows; the scores are transposed: a row is a key
extern "C" __global__ void __launch_bounds__(32 * WARPS, 1) attention_back_kv(
        const T* q, i64 qb, i64 qh, i64 qr, const T* k, i64 kb, i64 kh, i64 kr, const T* v, i64 vb, i64 vh,
        i64 vr, const T* go, i64 gb, i64 gh, i64 gr, T* gk, i64 gkb, i64 gkh, i64 gkr, T* gv, i64 gvb,
        i64 gvh, i64 gvr, const float* log_sum, const float* delta, i64 heads, i64 group, i64 n_rows,
        i64 n_keys, i64 channels, i64 causal, double scale, EXTRAS) {
    SETUP
    __shared__ float ls[2][N], ds[2][N];
    const int key_heads = heads / group, b = blockIdx.y / key_heads, kv = blockIdx.y % key_heads;
    const int start = blockIdx.x * ROWS, first = start + 16 * warp;  // early keys have most queries
    k += b * kb + kv * kh, v += b * vb + kv * vh;
    const float to_base2 = (float)scale * LOG2E;
    Part a[STEPS][4], va[STEPS][4];
    load_a(a, k, kr, first, S, d);
    load_a(va, v, vr, first, S, d);
    float out_k[DT][4], out_v[DT][4];
    bool careful = false;
begin:
    clear<DT>(out_k);
    clear<DT>(out_v);
    // a key is seen by the queries from its own position on
    const int from = causal ? start / N * N : 0;
    for (int r = 0; r < group; r++) {
        const int h = kv * group + r;
        const T *qh_ = q + b * qb + h * qh, *gh_ = go + b * gb + h * gh;
        const i64 row0 = ((i64)b * heads + h) * L;
        const MaskType* hidden = MASK ? mask + b * mb + h * mh : mask;
        [[maybe_unused]] const Keeper keeper = KEEPER(b, h);
        __syncthreads();
        for (int at = from - N, buffer = 1; at < L; at += N, buffer ^= 1) {
            if (at >= from) {
                wait_all();
                __syncthreads();
            }
            if (at + N < L) {
                load_pair(tiles, buffer ^ 1, qh_, qr, gh_, gr, at + N, L, d);
                if (threadIdx.x < N) {
                    int row = at + N + threadIdx.x;
                    ls[buffer ^ 1][threadIdx.x] = row < L ? log_sum[row0 + row] * LOG2E : INF;
                    ds[buffer ^ 1][threadIdx.x] = row < L ? delta[row0 + row] : 0.f;
                }
            }
            if (at < from || (causal && at + N <= first)) continue;
            [[maybe_unused]] const bool cut = careful && at < first + 16;
            float s[NT][4], p[NT][4];
            clear<NT>(s);
            times_transposed(s, a, TILE(buffer, 0));
            #pragma unroll
            for (int n = 0; n < NT; n++)
                #pragma unroll
                for (int j = 0; j < 4; j++) {
                    int row = at + 8 * n + 2 * t + (j & 1), key = first + g + 8 * (j >> 1);
                    s[n][j] = weight(masked(s[n][j] * to_base2, hidden, mr, mc, row, key, L, S),
                                     ls[buffer][8 * n + 2 * t + (j & 1)]);
                    if (key >= S || (causal && key > row)) s[n][j] = 0.f;
                }
#if DROPOUT
            u32 stay[NT];  // bits 0 and 1 for the first key, 2 and 3 for the second
            #pragma unroll
            for (int n = 0; n < NT; n++) {
                const int row = at + 8 * n + 2 * t, key = first + g;
                stay[n] = keeper.rows(row, key, L, S) | keeper.rows(row, key + 8, L, S) << 2;
                #pragma unroll
                for (int j = 0; j < 4; j++) p[n][j] = s[n][j] * keeper.factor(stay[n], j);
            }
            if (cut) times_seen(out_v, p, TILE(buffer, 1), at, first, true);
            else times(out_v, p, TILE(buffer, 1));
#else
            if (cut) times_seen(out_v, s, TILE(buffer, 1), at, first, true);
            else times(out_v, s, TILE(buffer, 1));
#endif
            clear<NT>(p);
            times_transposed(p, va, TILE(buffer, 1));
            #pragma unroll
            for (int n = 0; n < NT; n++)
                #pragma unroll
                for (int j = 0; j < 4; j++) {
#if DROPOUT
                    p[n][j] *= keeper.factor(stay[n], j);
#endif
                    const float delta_row = ds[buffer][8 * n + 2 * t + (j & 1)];
                    s[n][j] = s[n][j] == 0.f ? 0.f : s[n][j] * (p[n][j] - delta_row);
                }
            if (cut) times_seen(out_k, s, TILE(buffer, 0), at, first, true);
            else times(out_k, s, TILE(buffer, 0));
        }
    }
    if (AGAIN(not_finite(out_k) || not_finite(out_v))) {
        careful = true;
        goto begin;
    }
    write_rows(gk + b * gkb + kv * gkh, gkr, first, S, d, out_k, (float)scale, (float)scale);
    write_rows(gv + b * gvb + kv * gvh, gvr, first, S, d, out_v, 1.f, 1.f);
}
