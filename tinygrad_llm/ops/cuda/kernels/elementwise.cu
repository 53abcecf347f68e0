// Element by element, four in one load; n is the number of elements, the last few are done singly.
#define GRID i64 i = 4 * ((i64)blockIdx.x * blockDim.x + threadIdx.x); if (i >= n) return; \
    const bool whole = i + 4 <= n;

template <class A, class B>
__device__ void cast(const A* x, B* y, i64 n) {
    GRID
    if (whole) store4(y + i, load4(x + i));
    else for (; i < n; i++) store(y + i, to_float(x[i]));
}
extern "C" __global__ void cast_f32_bf16(const float* x, bf16* y, i64 n) { cast(x, y, n); }
extern "C" __global__ void cast_bf16_f32(const bf16* x, float* y, i64 n) { cast(x, y, n); }

// up to five arrays in one launch: a block belongs to one of them; those behind the last have n = 0
__device__ bool is_in(i64* block, i64 n) {
    const i64 blocks = (n + 1023) / 1024;
    if (*block < blocks) return true;
    *block -= blocks;
    return false;
}
__device__ void round_block(i64 block, const float* x, bf16* y, i64 n) {
    i64 i = 4 * (block * 256 + threadIdx.x);
    if (i + 4 <= n) store4(y + i, load4(x + i));
    else for (; i < n; i++) store(y + i, x[i]);
}
extern "C" __global__ void round_five(
        const float* a, bf16* ya, i64 na, const float* b, bf16* yb, i64 nb, const float* c, bf16* yc, i64 nc,
        const float* d, bf16* yd, i64 nd, const float* e, bf16* ye, i64 ne) {
    i64 block = blockIdx.x;
    if (is_in(&block, na)) round_block(block, a, ya, na);
    else if (is_in(&block, nb)) round_block(block, b, yb, nb);
    else if (is_in(&block, nc)) round_block(block, c, yc, nc);
    else if (is_in(&block, nd)) round_block(block, d, yd, nd);
    else round_block(block, e, ye, ne);
}

// y(N, C) = b(C) in every row, C a multiple of 4: a thread fills four columns of 16 rows
template <class T, class B>
__device__ void fill(T* y, const B* b, i64 n, i64 c) {
    const i64 col = 4 * ((i64)blockIdx.x * 256 + threadIdx.x), first = (i64)blockIdx.y * 16;
    if (col >= c) return;
    const float4 w = load4(b + col);
    for (i64 r = first; r < first + 16 && r < n; r++) store4(y + r * c + col, w);
}
#define FILL(NAME, T, B) \
    extern "C" __global__ void fill_##NAME(T* y, const B* b, i64 n, i64 c) { fill(y, b, n, c); }
FILL(f32_f32, float, float)
FILL(bf16_f32, bf16, float)
FILL(bf16_bf16, bf16, bf16)

// y = x*s, s one number on the GPU
template <class A, class B>
__device__ void scale(const A* x, B* y, const float* s, i64 n) {
    GRID
    const float f = *s;
    if (whole) {
        float4 v = load4(x + i);
        store4(y + i, make_float4(v.x * f, v.y * f, v.z * f, v.w * f));
    } else for (; i < n; i++) store(y + i, to_float(x[i]) * f);
}
extern "C" __global__ void scale_f32_f32(const float* x, float* y, const float* s, i64 n) { scale(x, y, s, n); }
extern "C" __global__ void scale_f32_bf16(const float* x, bf16* y, const float* s, i64 n) { scale(x, y, s, n); }
extern "C" __global__ void scale_bf16_bf16(const bf16* x, bf16* y, const float* s, i64 n) { scale(x, y, s, n); }

// z = x + y, of one shape
template <class A, class B>
__device__ void add(const A* x, const B* y, A* z, i64 n) {
    GRID
    if (whole) {
        float4 v = load4(x + i), w = load4(y + i);
        store4(z + i, make_float4(v.x + w.x, v.y + w.y, v.z + w.z, v.w + w.w));
    } else for (; i < n; i++) store(z + i, to_float(x[i]) + to_float(y[i]));
}
#define ADD(NAME, A, B) extern "C" __global__ void add_##NAME(const A* x, const B* y, A* z, i64 n) { \
    add(x, y, z, n); }
ADD(f32_f32, float, float)
ADD(f32_bf16, float, bf16)
ADD(bf16_bf16, bf16, bf16)

// GELU: y = x*cdf(x), its derivative is cdf + x*density
template <bool TANH>
__device__ float cdf(float x, float* derivative) {
    if (TANH) {
        const float c = 0.7978845608028654f, a = 0.044715f;
        float p = 0.5f * (1.f + tanhf(c * (x + a * x * x * x)));
        *derivative = p + x * 2.f * p * (1.f - p) * c * (1.f + 3.f * a * x * x);
        return p;
    }
    float p = 0.5f * (1.f + erff(x * 0.7071067811865476f));
    *derivative = p + x * 0.3989422804014327f * expf(-0.5f * x * x);
    return p;
}
template <bool TANH, class T>
__device__ void gelu(const T* x, T* y, i64 n) {
    GRID
    float s;
    if (whole) {
        float4 v = load4(x + i);
        store4(y + i, make_float4(v.x * cdf<TANH>(v.x, &s), v.y * cdf<TANH>(v.y, &s),
                                  v.z * cdf<TANH>(v.z, &s), v.w * cdf<TANH>(v.w, &s)));
    } else for (; i < n; i++) store(y + i, to_float(x[i]) * cdf<TANH>(to_float(x[i]), &s));
}
template <bool TANH, class T>
__device__ void gelu_back(const T* x, const T* g, T* gx, i64 n) {
    GRID
    float4 s;
    if (whole) {
        float4 v = load4(x + i), u = load4(g + i);
        cdf<TANH>(v.x, &s.x), cdf<TANH>(v.y, &s.y), cdf<TANH>(v.z, &s.z), cdf<TANH>(v.w, &s.w);
        store4(gx + i, make_float4(u.x * s.x, u.y * s.y, u.z * s.z, u.w * s.w));
    } else for (; i < n; i++) {
        cdf<TANH>(to_float(x[i]), &s.x);
        store(gx + i, to_float(g[i]) * s.x);
    }
}
#define GELU(NAME, TANH, T) \
    extern "C" __global__ void gelu_##NAME(const T* x, T* y, i64 n) { gelu<TANH>(x, y, n); } \
    extern "C" __global__ void gelu_back_##NAME(const T* x, const T* g, T* gx, i64 n) { \
        gelu_back<TANH>(x, g, gx, n); }
GELU(tanh_f32, true, float)
GELU(tanh_bf16, true, bf16)
GELU(none_f32, false, float)
GELU(none_bf16, false, bf16)

// Philox 4x32-10 (Salmon et al., 2011): keep[i] = u < p, 16 bits of u per element, 8 elements per call. The
// seed is read from `live` if it is given.
extern "C" __global__ void keep_mask(unsigned char* keep, i64 n, const i64* live, i64 seed, double p) {
    if (live) seed = *live;
    i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (8 * i >= n) return;
    u32 c0 = (u32)i, c1 = (u32)(i >> 32), c2 = 0, c3 = 0;
    u32 k0 = (u32)seed, k1 = (u32)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        u32 h0 = __umulhi(0xD2511F53u, c0), l0 = 0xD2511F53u * c0;
        u32 h1 = __umulhi(0xCD9E8D57u, c2), l1 = 0xCD9E8D57u * c2;
        c0 = h1 ^ c1 ^ k0, c1 = l1, c2 = h0 ^ c3 ^ k1, c3 = l0;
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
    u32 r[4] = {c0, c1, c2, c3};
    u32 below = (u32)(p * 65536. + .5);
    for (int j = 0; j < 8 && 8 * i + j < n; j++)
        keep[8 * i + j] = ((r[j / 2] >> (16 * (j & 1))) & 0xffffu) < below;
}

// Adam over all tensors in one launch. table: 5 numbers per tensor (p, g, m, v, size); blocks: 2
// numbers per block (tensor, first element). lr and the corrections are read from `live` if it is
// given, and nothing changes if *norm, the gradients' norm, is given and is not finite.
extern "C" __global__ void adam(const i64* table, const i64* blocks, const double* live,
                                const float* norm, double lr, double correction1,
                                double correction2, double beta1, double beta2, double eps,
                                double decay, i64 decoupled, i64 maximize) {
    if (norm && !isfinite(*norm)) return;
    if (live) lr = live[0], correction1 = live[1], correction2 = live[2];
    const i64* row = table + 5 * blocks[2 * blockIdx.x];
    const i64 first = blocks[2 * blockIdx.x + 1], size = row[4];
    float *p = (float*)row[0], *m = (float*)row[2], *v = (float*)row[3];
    const float* g = (const float*)row[1];
    const float b1 = (float)(1. - beta1), b2 = (float)beta2, b2_rest = (float)(1. - beta2);
    const float shrink = (float)(1. - lr * decay), rate = (float)(-lr / correction1);
    const float c2 = (float)correction2, e = (float)eps, d = (float)decay;
    #pragma unroll 4
    for (int j = 0; j < 16; j++) {
        i64 i = first + j * 256 + threadIdx.x;
        if (i >= size) return;
        float gi = maximize ? -g[i] : g[i], pi = p[i], mi = m[i], vi = v[i];
        if (decoupled) pi *= shrink;
        else gi += pi * d;
        mi += (gi - mi) * b1;
        vi = vi * b2 + gi * gi * b2_rest;
        p[i] = pi + mi * rate / (sqrtf(vi) / c2 + e);
        m[i] = mi, v[i] = vi;
    }
}

// part[block] = sum of squares of the block's 4,096 elements; table: 2 numbers per tensor (g, size)
extern "C" __global__ void square_sums(const i64* table, const i64* blocks, float* part) {
    __shared__ float warps[8];
    const i64* row = table + 2 * blocks[2 * blockIdx.x];
    const i64 first = blocks[2 * blockIdx.x + 1];
    const i64 last = first + 4096 < row[1] ? first + 4096 : row[1];
    const float* g = (const float*)row[0];
    float s = 0.f;
    #pragma unroll 4
    for (i64 i = first + threadIdx.x; i < last; i += 256) s += g[i] * g[i];
    s = warp_sum(s);
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = s;
    __syncthreads();
    if (threadIdx.x) return;
    for (int k = 1; k < 8; k++) s += warps[k];
    part[blockIdx.x] = s;
}
// norm = root of the sum of n parts, one block of 1,024 threads, always in the same order
extern "C" __global__ void root_of_sum(const float* part, i64 n, float* norm) {
    __shared__ double sums[1024];
    double s = 0.;
    for (i64 i = threadIdx.x; i < n; i += 1024) s += part[i];
    sums[threadIdx.x] = s;
    for (int d = 512; d; d >>= 1) {
        __syncthreads();
        if (threadIdx.x < d) sums[threadIdx.x] += sums[threadIdx.x + d];
    }
    if (threadIdx.x == 0) *norm = (float)sqrt(sums[0]);
}
// g *= min(1, largest/(norm + 1e-6)) for every tensor
extern "C" __global__ void clip(const i64* table, const i64* blocks, const float* norm, double largest) {
    const float factor = (float)largest / (*norm + 1e-6f);
    if (factor >= 1.f) return;
    const i64* row = table + 2 * blocks[2 * blockIdx.x];
    const i64 first = blocks[2 * blockIdx.x + 1];
    float* g = (float*)row[0];
    #pragma unroll 4
    for (i64 i = first + threadIdx.x; i < first + 4096 && i < row[1]; i += 256) g[i] *= factor;
}
