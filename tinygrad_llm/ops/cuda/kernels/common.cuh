// What every kernel file starts with: bfloat16, loads of four elements, sums over a warp.
// Integers arrive as long long and numbers as double, because CuPy hands Python's over so.
typedef long long i64;
typedef unsigned int u32;
typedef unsigned short u16;
#define INF __int_as_float(0x7f800000)
#define FULL 0xffffffffu

struct bf16 { u16 bits; };

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) { return __uint_as_float((u32)x.bits << 16); }

__device__ __forceinline__ u32 pack(float low, float high) {  // two bfloat16, rounded to nearest
    u32 r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}
__device__ __forceinline__ void store(float* p, float x) { *p = x; }
__device__ __forceinline__ void store(bf16* p, float x) { p->bits = (u16)pack(x, 0.f); }

__device__ __forceinline__ float4 load4(const float* p) { return *(const float4*)p; }
__device__ __forceinline__ float4 load4(const bf16* p) {
    uint2 r = *(const uint2*)p;
    return make_float4(__uint_as_float(r.x << 16), __uint_as_float(r.x & 0xffff0000u),
                       __uint_as_float(r.y << 16), __uint_as_float(r.y & 0xffff0000u));
}
__device__ __forceinline__ void store4(float* p, float4 x) { *(float4*)p = x; }
__device__ __forceinline__ void store4(bf16* p, float4 x) {
    *(uint2*)p = make_uint2(pack(x.x, x.y), pack(x.z, x.w));
}

__device__ __forceinline__ float warp_sum(float x) {
    for (int d = 16; d; d >>= 1) x += __shfl_xor_sync(FULL, x, d);
    return x;
}
__device__ __forceinline__ float warp_max(float x) {
    for (int d = 16; d; d >>= 1) x = fmaxf(x, __shfl_xor_sync(FULL, x, d));
    return x;
}
