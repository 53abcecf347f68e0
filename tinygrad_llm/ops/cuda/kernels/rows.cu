// Row by row: norms, softmax, cross-entropy; and sums over the rows. A row is C elements.

// Layer norm of rows that norm.cu does not take, one warp per row. mean is 0 for RMS norm (MEAN false), which has no bias either.
template <bool MEAN, class T>
__device__ void norm(const T* x, const float* w, const float* b, T* y, float* mean, float* r,
                     i64 n, i64 c, double eps) {
    i64 row = (i64)blockIdx.x * 8 + threadIdx.x / 32;
    if (row >= n) return;
    int lane = threadIdx.x % 32;
    x += row * c, y += row * c;
    float mu = 0.f, square = 0.f;
    if (MEAN) {
        for (i64 i = lane; i < c; i += 32) mu += to_float(x[i]);
        mu = warp_sum(mu) / c;
    }
    for (i64 i = lane; i < c; i += 32) {
        float d = to_float(x[i]) - mu;
        square += d * d;
    }
    float rstd = rsqrtf(warp_sum(square) / c + (float)eps);
    if (lane == 0) {
        if (MEAN) mean[row] = mu;
        r[row] = rstd;
    }
    for (i64 i = lane; i < c; i += 32) {
        float v = (to_float(x[i]) - mu) * rstd;
        if (w) v *= w[i];
        if (b) v += b[i];
        store(y + i, v);
    }
}
template <bool MEAN, class T>
__device__ void norm4(const T* x, const float* w, const float* b, T* y, float* mean, float* r,
                      i64 n, i64 c, double eps) {  // c is a multiple of 4
    i64 row = (i64)blockIdx.x * 8 + threadIdx.x / 32;
    if (row >= n) return;
    int lane = 4 * (threadIdx.x % 32);
    x += row * c, y += row * c;
    float mu = 0.f, square = 0.f;
    if (MEAN) {
        for (i64 i = lane; i < c; i += 128) {
            float4 v = load4(x + i);
            mu += (v.x + v.y) + (v.z + v.w);
        }
        mu = warp_sum(mu) / c;
    }
    for (i64 i = lane; i < c; i += 128) {
        float4 v = load4(x + i);
        v.x -= mu, v.y -= mu, v.z -= mu, v.w -= mu;
        square += (v.x * v.x + v.y * v.y) + (v.z * v.z + v.w * v.w);
    }
    float rstd = rsqrtf(warp_sum(square) / c + (float)eps);
    if (lane == 0) {
        if (MEAN) mean[row] = mu;
        r[row] = rstd;
    }
    for (i64 i = lane; i < c; i += 128) {
        float4 v = load4(x + i);
        v = make_float4((v.x - mu) * rstd, (v.y - mu) * rstd, (v.z - mu) * rstd, (v.w - mu) * rstd);
        if (w) {
            float4 s = load4(w + i);
            v.x *= s.x, v.y *= s.y, v.z *= s.z, v.w *= s.w;
        }
        if (b) {
            float4 s = load4(b + i);
            v.x += s.x, v.y += s.y, v.z += s.z, v.w += s.w;
        }
        store4(y + i, v);
    }
}
// gx = r*(u - mean(u) - xhat*mean(u*xhat)), u = g*w; without mean(u) for RMS norm; plus what has
// arrived there, if that is given: arrived may be gx itself
template <bool MEAN, bool FOUR>
__device__ void norm_back(const float* g, const float* x, const float* w, const float* mean,
                          const float* r, const float* arrived, float* gx, i64 n, i64 c) {
    const i64 row = (i64)blockIdx.x * 8 + threadIdx.x / 32;
    if (row >= n) return;
    const int lane = (FOUR ? 4 : 1) * (threadIdx.x % 32), step = FOUR ? 128 : 32;
    g += row * c, x += row * c, gx += row * c;
    if (arrived) arrived += row * c;
    const float mu = MEAN ? mean[row] : 0.f, rstd = r[row];
    float s1 = 0.f, s2 = 0.f;
    for (i64 i = lane; i < c; i += step) {
        if (FOUR) {
            float4 u = load4(g + i), v = load4(x + i), s = w ? load4(w + i) : make_float4(1, 1, 1, 1);
            u.x *= s.x, u.y *= s.y, u.z *= s.z, u.w *= s.w;
            s1 += (u.x + u.y) + (u.z + u.w);
            s2 += (u.x * (v.x - mu) + u.y * (v.y - mu)) + (u.z * (v.z - mu) + u.w * (v.w - mu));
        } else {
            float u = g[i] * (w ? w[i] : 1.f);
            s1 += u;
            s2 += u * (x[i] - mu);
        }
    }
    s1 = MEAN ? warp_sum(s1) / c : 0.f;
    s2 = warp_sum(s2) * rstd * rstd / c;
    for (i64 i = lane; i < c; i += step) {
        if (FOUR) {
            float4 u = load4(g + i), v = load4(x + i), s = w ? load4(w + i) : make_float4(1, 1, 1, 1);
            float4 a = arrived ? load4(arrived + i) : make_float4(0, 0, 0, 0);
            store4(gx + i, make_float4(__fadd_rn(rstd * (u.x * s.x - s1 - (v.x - mu) * s2), a.x),
                                       __fadd_rn(rstd * (u.y * s.y - s1 - (v.y - mu) * s2), a.y),
                                       __fadd_rn(rstd * (u.z * s.z - s1 - (v.z - mu) * s2), a.z),
                                       __fadd_rn(rstd * (u.w * s.w - s1 - (v.w - mu) * s2), a.w)));
        } else {
            float v = rstd * (g[i] * (w ? w[i] : 1.f) - s1 - (x[i] - mu) * s2);
            gx[i] = __fadd_rn(v, arrived ? arrived[i] : 0.f);
        }
    }
}
#define NORM(NAME, MEAN) \
    extern "C" __global__ void NAME(const float* x, const float* w, const float* b, float* y, \
            float* mean, float* r, i64 n, i64 c, double eps) { \
        if (c % 4) norm<MEAN>(x, w, b, y, mean, r, n, c, eps); \
        else norm4<MEAN>(x, w, b, y, mean, r, n, c, eps); } \
    extern "C" __global__ void NAME##_back(const float* g, const float* x, const float* w, \
            const float* mean, const float* r, const float* arrived, float* gx, i64 n, i64 c) { \
        if (c % 4) norm_back<MEAN, false>(g, x, w, mean, r, arrived, gx, n, c); \
        else norm_back<MEAN, true>(g, x, w, mean, r, arrived, gx, n, c); }
NORM(layer_norm, true)
NORM(rms_norm, false)

// Sums over rows in two launches: block (i, j) adds up `strip` rows of 32 columns (the rows lie `step`
// elements apart) into out[j, columns]; the second launch adds up the strips in order. So the result
// never changes from run to run. With HAT, out[j] has a second row: the sums of g*xhat, xhat = (x - mean)*r.
template <class T, bool HAT>
__device__ void sum_rows(const T* g, const T* x, const float* mean, const float* r, float* out,
                         i64 n, i64 c, i64 strip, i64 step, i64 which) {
    __shared__ float part[2][8][33];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const i64 col = (i64)blockIdx.x * 32 + lane;
    const i64 first = which * strip, last = first + strip < n ? first + strip : n;
    float s = 0.f, hat = 0.f;
    if (col < c) {
        #pragma unroll 4
        for (i64 i = first + warp; i < last; i += 8) {
            float v = to_float(g[i * step + col]);
            s += v;
            if (HAT) hat += v * (to_float(x[i * step + col]) - (mean ? mean[i] : 0.f)) * r[i];
        }
    }
    part[0][warp][lane] = s;
    if (HAT) part[1][warp][lane] = hat;
    __syncthreads();
    if (warp < (HAT ? 2 : 1) && col < c) {
        float total = 0.f;
        for (int k = 0; k < 8; k++) total += part[warp][k][lane];
        out[((HAT ? 2 : 1) * which + warp) * c + col] = total;
    }
}
extern "C" __global__ void sum_rows_f32(const float* g, float* out, i64 n, i64 c, i64 strip) {
    sum_rows<float, false>(g, g, 0, 0, out, n, c, strip, c, blockIdx.y); }
extern "C" __global__ void sum_rows_bf16(const bf16* g, float* out, i64 n, i64 c, i64 strip) {
    sum_rows<bf16, false>(g, g, 0, 0, out, n, c, strip, c, blockIdx.y); }
// the same for C a multiple of 4: a lane has four columns
extern "C" __global__ void sum_rows_bf16_by_4(const bf16* g, float* out, i64 n, i64 c, i64 strip) {
    __shared__ float4 part[8][32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const i64 col = 4 * ((i64)blockIdx.x * 32 + lane);
    const i64 first = blockIdx.y * strip, last = first + strip < n ? first + strip : n;
    float4 s = make_float4(0.f, 0.f, 0.f, 0.f);
    if (col < c) {
        #pragma unroll 4
        for (i64 i = first + warp; i < last; i += 8) {
            const float4 v = load4(g + i * c + col);
            s.x += v.x, s.y += v.y, s.z += v.z, s.w += v.w;
        }
    }
    part[warp][lane] = s;
    __syncthreads();
    if (warp || col >= c) return;
    s = make_float4(0.f, 0.f, 0.f, 0.f);
    for (int k = 0; k < 8; k++) {
        const float4 v = part[k][lane];
        s.x += v.x, s.y += v.y, s.z += v.z, s.w += v.w;
    }
    store4(out + blockIdx.y * c + col, s);
}
extern "C" __global__ void sum_rows_hat(const float* g, const float* x, const float* mean,
        const float* r, float* out, i64 n, i64 c, i64 strip) {
    sum_rows<float, true>(g, x, mean, r, out, n, c, strip, c, blockIdx.y); }
// (strips, 2, C) -> (C) and (C)
extern "C" __global__ void sum_pairs(const float* part, float* out, float* out_hat, i64 n, i64 c) {
    part += blockIdx.y * c;
    sum_rows<float, false>(part, part, 0, 0, blockIdx.y ? out_hat : out, n, c, n, 2 * c, 0); }

// over a block of 256 threads, in a fixed order
__device__ float block_reduce(float x, bool largest) {
    __shared__ float part[8];
    x = largest ? warp_max(x) : warp_sum(x);
    __syncthreads();
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = x;
    __syncthreads();
    x = part[0];
    for (int k = 1; k < 8; k++) x = largest ? fmaxf(x, part[k]) : x + part[k];
    return x;
}

// softmax over rows of c elements, one block per row
extern "C" __global__ void softmax(const float* x, float* y, i64 c) {
    x += blockIdx.x * c, y += blockIdx.x * c;
    float top = -INF, total = 0.f;
    for (i64 i = threadIdx.x; i < c; i += 256) top = fmaxf(top, x[i]);
    top = block_reduce(top, true);
    for (i64 i = threadIdx.x; i < c; i += 256) total += expf(x[i] - top);
    total = block_reduce(total, false);
    for (i64 i = threadIdx.x; i < c; i += 256) y[i] = expf(x[i] - top) / total;
}
extern "C" __global__ void softmax_back(const float* g, const float* y, float* gx, i64 c) {
    g += blockIdx.x * c, y += blockIdx.x * c, gx += blockIdx.x * c;
    float dot = 0.f;
    for (i64 i = threadIdx.x; i < c; i += 256) dot += g[i] * y[i];
    dot = block_reduce(dot, false);
    for (i64 i = threadIdx.x; i < c; i += 256) gx[i] = y[i] * (g[i] - dot);
}

// Cross-entropy of a row: loss = log sum exp(x) - x[t]; 0 for an ignored target. The gradient
// (p - onehot)*scale replaces the logits if `back` is set. scale is a number on the GPU.
template <class T>
__device__ void cross_entropy(T* x, T* gx, const i64* t, float* loss, float* log_sum, const float* scale,
                              i64 c, i64 ignore_index, i64 back) {
    const i64 row = blockIdx.x, target = t[row];
    x += row * c, gx += row * c;
    const bool ignored = target == ignore_index;
    float top = -INF, total = 0.f;
    const i64 c4 = c % 4 ? 0 : c;
    for (i64 i = 4 * threadIdx.x; i < c4; i += 1024) {
        float4 v = load4(x + i);
        float m = fmaxf(fmaxf(v.x, v.y), fmaxf(v.z, v.w));
        if (m > top) total *= __expf(top - m), top = m;
        total += (__expf(v.x - top) + __expf(v.y - top)) + (__expf(v.z - top) + __expf(v.w - top));
    }
    for (i64 i = c4 + threadIdx.x; i < c; i += 256) {
        float v = to_float(x[i]);
        if (v > top) total *= __expf(top - v), top = v;
        total += __expf(v - top);
    }
    float all = block_reduce(top, true);
    total = block_reduce(top == -INF ? 0.f : total * __expf(top - all), false);
    const float l = all + logf(total);
    if (threadIdx.x == 0) {
        loss[row] = ignored ? 0.f : l - to_float(x[target]);
        if (log_sum) log_sum[row] = l;
    }
    if (!back) return;
    const float s = ignored ? 0.f : *scale;
    __syncthreads();  // the target's logit has been read
    for (i64 i = 4 * threadIdx.x; i < c4; i += 1024) {
        float4 v = load4(x + i);
        v = make_float4(s * __expf(v.x - l), s * __expf(v.y - l), s * __expf(v.z - l), s * __expf(v.w - l));
        i64 at = target - i;
        if (at == 0) v.x -= s;
        if (at == 1) v.y -= s;
        if (at == 2) v.z -= s;
        if (at == 3) v.w -= s;
        store4(gx + i, v);
    }
    for (i64 i = c4 + threadIdx.x; i < c; i += 256)
        store(gx + i, s * (__expf(to_float(x[i]) - l) - (i == target)));
}
#define CE(NAME, T) extern "C" __global__ void cross_entropy_##NAME(T* x, T* gx, const i64* t, \
    float* loss, float* log_sum, const float* scale, i64 c, i64 ignore_index, i64 back) { \
    cross_entropy(x, gx, t, loss, log_sum, scale, c, ignore_index, back); }
CE(f32, float)
CE(bf16, bf16)

// The rows of g that belong to each id, one after another and in their order, without sorting:
// rank[i] counts equal ids before i within its chunk, count (chunks, V) how often a chunk has an id
extern "C" __global__ void rank_ids(const i64* ids, int* rank, int* count, i64 n, i64 v, i64 chunk) {
    __shared__ i64 tile[256];
    const i64 start = (i64)blockIdx.x * 256, i = start + threadIdx.x, which = start / chunk;
    const i64 mine = i < n ? ids[i] : -1;
    int equal = 0;
    for (i64 at = which * chunk; at <= start; at += 256) {
        __syncthreads();
        tile[threadIdx.x] = at + threadIdx.x < n ? ids[at + threadIdx.x] : -1;
        __syncthreads();
        const int last = at == start ? threadIdx.x : 256;
        for (int k = 0; k < last; k++) equal += tile[k] == mine;
    }
    if (i >= n) return;
    rank[i] = equal;
    atomicAdd(count + which * v + mine, 1);
}
// count becomes where each chunk's rows of an id begin. Which id comes first may differ from run to
// run; the rows of an id do not. The number after the table counts the places given out (`cells`).
extern "C" __global__ void place_ids(int* count, i64 cells, i64 v) {
    const i64 id = (i64)blockIdx.x * 256 + threadIdx.x;
    if (id >= v) return;
    int total = 0;
    for (i64 c = id; c < cells; c += v) total += count[c];
    if (!total) return;
    int at = atomicAdd(count + cells, total);
    for (i64 c = id; c < cells; c += v) {
        int here = count[c];
        count[c] = at;
        at += here;
    }
}
extern "C" __global__ void order_ids(const i64* ids, const int* rank, const int* count, i64* ordered,
                                     i64* order, i64 n, i64 v, i64 chunk) {
    const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
    if (i >= n) return;
    const int at = count[i / chunk * v + ids[i]] + rank[i];
    ordered[at] = ids[i], order[at] = i;
}

// scale = 1/(number of targets that are not ignored), loss = scale * sum of the losses: one block of 1,024
__device__ float sum_of_1024(float x) {
    __shared__ float sums[1024];
    sums[threadIdx.x] = x;
    for (int d = 512; d; d >>= 1) {
        __syncthreads();
        if (threadIdx.x < d) sums[threadIdx.x] += sums[threadIdx.x + d];
    }
    __syncthreads();
    return sums[0];
}
extern "C" __global__ void count_targets(const i64* t, i64 n, i64 ignore_index, float* scale) {
    float s = 0.f;
    for (i64 i = threadIdx.x; i < n; i += 1024) s += t[i] != ignore_index;
    s = sum_of_1024(s);
    if (threadIdx.x == 0) *scale = 1.f / s;
}
extern "C" __global__ void sum_losses(const float* losses, i64 n, const float* scale, float* loss) {
    float s = 0.f;
    for (i64 i = threadIdx.x; i < n; i += 1024) s += losses[i];
    s = sum_of_1024(s);
    if (threadIdx.x == 0) *loss = s * *scale;
}

// gw[ids] += g, ids in groups of equal ones: every id's rows are added up in one place and in their
// order. One block for an id's first row and 256 columns: a thread adds up a column of at most 8 rows;
// of more rows 8 warps take turns, and a lane has every 32nd column.
extern "C" __global__ void scatter_rows(float* gw, const i64* ids, const i64* order, const float* g,
                                        i64 n, i64 c) {
    __shared__ float part[8][256];
    const i64 i = blockIdx.x, id = ids[i], base = (i64)blockIdx.y * 256, col = base + threadIdx.x;
    if (i && ids[i - 1] == id) return;
    float total = col < c ? gw[id * c + col] : 0.f;
    if (i + 8 >= n || ids[i + 8] != id) {
        if (col >= c) return;
        for (i64 j = i; j < n && ids[j] == id; j++) total += g[order[j] * c + col];
        gw[id * c + col] = total;
        return;
    }
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    float s[8] = {};
    for (i64 j = i + warp; j < n && ids[j] == id; j += 8) {
        const float* row = g + order[j] * c + base;
        #pragma unroll
        for (int k = 0; k < 8; k++) if (base + lane + 32 * k < c) s[k] += row[lane + 32 * k];
    }
    for (int k = 0; k < 8; k++) part[warp][lane + 32 * k] = s[k];
    __syncthreads();
    if (col >= c) return;
    for (int k = 0; k < 8; k++) total += part[k][threadIdx.x];
    gw[id * c + col] = total;
}
