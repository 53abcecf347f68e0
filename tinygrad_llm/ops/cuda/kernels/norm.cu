// Layer norm (MEAN 1) and RMS norm (MEAN 0) of rows that a warp holds in registers: c, a multiple of
// 4, is at most 128*K, and a lane has four columns of each 128. So every row is read once.
// Longer rows are in rows.cu. y and its gradient g are of the type Y, float or bf16.
#define EACH _Pragma("unroll") for (int k = 0; k < K; k++)
#define LAST_FILLED (lane + 128 * (K - 1) < c)  // whether the lane's last four columns exist
#define FILLED (k < K - 1 || LAST_FILLED)

__device__ __forceinline__ float sum4(float4 v) { return (v.x + v.y) + (v.z + v.w); }
__device__ __forceinline__ float4 times(float4 v, float4 w) {
    return make_float4(v.x * w.x, v.y * w.y, v.z * w.z, v.w * w.w);
}
__device__ __forceinline__ float4 plus(float4 v, float4 w) {  // v is rounded before
    return make_float4(__fadd_rn(v.x, w.x), __fadd_rn(v.y, w.y), __fadd_rn(v.z, w.z), __fadd_rn(v.w, w.w));
}
__device__ __forceinline__ float4 normal(float4 v, float mu, float rstd) {
    return make_float4((v.x - mu) * rstd, (v.y - mu) * rstd, (v.z - mu) * rstd, (v.w - mu) * rstd);
}

// one row to each of the block's 8 warps
extern "C" __global__ void norm_of_rows(
        const float* x, const float* __restrict__ w, const float* __restrict__ b, Y* __restrict__ y,
        float* mean, float* r, i64 n, i64 c, double eps) {
    const i64 row = (i64)blockIdx.x * 8 + threadIdx.x / 32;
    if (row >= n) return;
    const int lane = 4 * (threadIdx.x % 32);
    const float4 zero = make_float4(0.f, 0.f, 0.f, 0.f);
    x += row * c + lane, y += row * c + lane;
    float4 v[K];
    EACH v[k] = FILLED ? load4(x + 128 * k) : zero;
    float mu = 0.f, square = 0.f;
    if (MEAN) {
        EACH mu += sum4(v[k]);
        mu = warp_sum(mu) / c;
    }
    EACH if (FILLED) {
        const float4 d = normal(v[k], mu, 1.f);
        square += sum4(times(d, d));
    }
    const float rstd = rsqrtf(warp_sum(square) / c + (float)eps);
    if (lane == 0) {
        if (MEAN) mean[row] = mu;
        r[row] = rstd;
    }
    EACH if (FILLED) {
        float4 u = normal(v[k], mu, rstd);
        if (w) u = times(u, load4(w + lane + 128 * k));
        if (b) {
            const float4 s = load4(b + lane + 128 * k);
            u = make_float4(u.x + s.x, u.y + s.y, u.z + s.z, u.w + s.w);
        }
        store4(y + 128 * k, u);
    }
}

// gx = r*(u - mean(u) - xhat*mean(u*xhat)), u = g*w, without mean(u) for RMS norm; plus what has
// arrived there, if that is given: arrived may be gx itself. The blocks' warps take the rows in turns.
// part (blocks, 2, C) or (blocks, 1, C): the block's sums of g*xhat, and of g for layer norm.
extern "C" __global__ void __launch_bounds__(256, BLOCKS) norm_of_rows_back(
        const Y* g, const float* x, const float* w, const float* mean, const float* r,
        const float* arrived, float* gx, float* part, i64 n, i64 c) {
    __shared__ __align__(16) float sums[2][8][128];
    const int lane = 4 * (threadIdx.x % 32), warp = threadIdx.x / 32;
    const float4 zero = make_float4(0.f, 0.f, 0.f, 0.f);
    const float share = 1.f / c;
    float4 gw[K], gb[K];
    EACH gw[k] = gb[k] = zero;
    for (i64 row = (i64)blockIdx.x * 8 + warp; row < n; row += (i64)gridDim.x * 8) {
        const i64 at = row * c + lane;
        float4 u[K], hat[K];
        EACH u[k] = FILLED ? load4(g + at + 128 * k) : zero;
        EACH hat[k] = FILLED ? load4(x + at + 128 * k) : zero;
        if (arrived) EACH if (FILLED) asm volatile("prefetch.global.L2 [%0];" :: "l"(arrived + at + 128 * k));
        const float mu = MEAN ? mean[row] : 0.f, rstd = r[row];
        float s1 = 0.f, s2 = 0.f;
        EACH {
            hat[k] = normal(hat[k], mu, rstd);
            gw[k].x += u[k].x * hat[k].x, gw[k].y += u[k].y * hat[k].y;
            gw[k].z += u[k].z * hat[k].z, gw[k].w += u[k].w * hat[k].w;
            if (MEAN) gb[k].x += u[k].x, gb[k].y += u[k].y, gb[k].z += u[k].z, gb[k].w += u[k].w;
        }
        if (!gx) continue;
        __syncwarp();  // w is read after what needs more registers
        EACH {
            if (w && FILLED) u[k] = times(u[k], load4(w + lane + 128 * k));
            if (MEAN) s1 += sum4(u[k]);
            s2 += sum4(times(u[k], hat[k]));
        }
        s1 = MEAN ? warp_sum(s1) * share : 0.f;
        s2 = warp_sum(s2) * share;
        EACH u[k] = make_float4(rstd * (u[k].x - s1 - hat[k].x * s2), rstd * (u[k].y - s1 - hat[k].y * s2),
                                rstd * (u[k].z - s1 - hat[k].z * s2), rstd * (u[k].w - s1 - hat[k].w * s2));
        if (arrived) {
            EACH if (FILLED) hat[k] = load4(arrived + at + 128 * k);
            EACH u[k] = plus(u[k], hat[k]);
        }
        EACH if (FILLED) store4(gx + at + 128 * k, u[k]);
    }
    if (!part) return;
    const int which = threadIdx.x / 128, col = threadIdx.x % 128;
    part += ((MEAN + 1) * (i64)blockIdx.x + which) * c + col;
    EACH {
        __syncthreads();
        store4(&sums[0][warp][lane], gw[k]);
        if (MEAN) store4(&sums[1][warp][lane], gb[k]);
        __syncthreads();
        if (which > MEAN || col + 128 * k >= c) continue;
        float total = 0.f;
        for (int i = 0; i < 8; i++) total += sums[which][i][col];
        part[128 * k] = total;
    }
}
// (blocks, 2, C) -> gw (C) and gb (C); (blocks, 1, C) -> gw: 32 columns to a block of 32 warps
extern "C" __global__ void sum_blocks(const float* part, float* gw, float* gb, i64 blocks, i64 c) {
    __shared__ float sums[32][32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const i64 col = (i64)blockIdx.x * 32 + lane, step = gridDim.y * c;
    float total = 0.f;
    if (col < c) {
        #pragma unroll 4
        for (i64 i = warp; i < blocks; i += 32) total += part[i * step + blockIdx.y * c + col];
    }
    sums[warp][lane] = total;
    __syncthreads();
    if (warp || col >= c) return;
    for (int i = 1; i < 32; i++) total += sums[i][lane];
    (blockIdx.y ? gb : gw)[col] = total;
}
