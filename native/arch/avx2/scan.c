/* The scans with AVX2.  Per vector of 32 bytes: 1.1 instructions of planes, 1.5 of rows. */
#include "avx2.h"

#ifdef NPUD_AVX2
#include "../bounds.h"
#include "gather.h"

#define FN NPUD_AVX2 __attribute__((always_inline)) static inline
#define FN_OUT NPUD_AVX2 __attribute__((noinline)) static
#define FN_PUBLIC NPUD_AVX2 static
#define VEC __m256i
#define VECTOR 32
#define LOAD(p) _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define MASK(v) ((uint64_t)(uint32_t)_mm256_movemask_epi8(v))
#define MASK_BITS 1
#define STAY(v) __asm__("" : "+x"(v))
#define FEW_LISTED 1
#define EITHER(a, b) _mm256_or_si256(a, b)
#define FLOATS(v) _mm256_castsi256_ps(v)
#define INTEGERS(v) _mm256_castps_si256(v)

/* Halves and then quarters change places: all lanes of 32 bits get the largest. */
#define SWAP_128(v) _mm256_permute2x128_si256(v, v, 1)
#define SWAP_64(v) _mm256_shuffle_epi32(v, 0x4e)
#define SWAP_32(v) _mm256_shuffle_epi32(v, 0xb1)
#define SWAP_16(v) _mm256_or_si256(_mm256_slli_epi32(v, 16), _mm256_srli_epi32(v, 16))
#define SWAP_8(v) _mm256_or_si256(_mm256_slli_epi16(v, 8), _mm256_srli_epi16(v, 8))

#define NAME(x) x##_f32
#define TYPE float
#define DTYPE NPUD_FLOAT32
#define FALLING(t) ((t).real <= 0.0f)
#define BOUND(t) _mm256_set1_epi32(float_bound((t).real))
#define LIMIT(t) INTEGERS(_mm256_set1_ps((t).real))
#define FOLD(falling, a, b) ((falling) ? _mm256_min_epu32(a, b) : _mm256_max_epi32(a, b))
#define EQUAL(a, b) _mm256_cmpeq_epi32(a, b)
#define FOLDS_EXACTLY 0
#define GATHER npud_avx2_gather_32
#define SINGLE_HITS 3
#define KEY_OF(v) (v)
#define LOWEST INTEGERS(_mm256_set1_ps(-1.0f / 0.0f))
#define LARGER(a, b) INTEGERS(_mm256_max_ps(FLOATS(a), FLOATS(b)))
#define SAME(a, b) INTEGERS(_mm256_cmp_ps(FLOATS(a), FLOATS(b), _CMP_EQ_OQ))
#define REACHES(a, b) INTEGERS(_mm256_cmp_ps(FLOATS(a), FLOATS(b), _CMP_GE_OQ))
#define LARGEST_LANE(v) largest_f32(v)
#define VALUE(x) ((npud_value){.real = (x)})
#define IS_NAN(x) 0
#define VALUE_REACHES(v, t) ((v).real >= (t).real)
FN VEC largest_f32(VEC v)
{
    v = LARGER(v, SWAP_128(v));
    v = LARGER(v, SWAP_64(v));
    return LARGER(v, SWAP_32(v));
}
#include "../scan_vectors.h"

#define NAME(x) x##_f16
#define TYPE uint16_t
#define DTYPE NPUD_FLOAT16
#define FALLING(t) ((t).real <= 0.0f)
#define BOUND(t) _mm256_set1_epi16(half_bound((t).real))
#define LIMIT(t) _mm256_set1_epi16(npud_half_threshold((t).real))
#define FOLD(falling, a, b) ((falling) ? _mm256_min_epu16(a, b) : _mm256_max_epi16(a, b))
#define EQUAL(a, b) _mm256_cmpeq_epi16(a, b)
#define FOLDS_EXACTLY 0
#define GATHER npud_gather_16
#define SINGLE_HITS 0
#define KEY_OF(v) half_keys(v)
#define LOWEST _mm256_set1_epi16(INT16_MIN)
#define LARGER(a, b) _mm256_max_epi16(a, b)
#define SAME(a, b) _mm256_cmpeq_epi16(a, b)
#define REACHES(a, b) _mm256_cmpeq_epi16(_mm256_max_epi16(a, b), a)
#define LARGEST_LANE(v) largest_f16(v)
#define VALUE(x) ((npud_value){.real = npud_half_value((int16_t)(x))})
#define IS_NAN(x) ((int16_t)(x) == INT16_MIN)
#define VALUE_REACHES(v, t) ((v).real >= (t).real)
/* npud_half_key of sixteen: (magnitude ^ sign) - sign, INT16_MIN for NaN. */
FN VEC half_keys(VEC halves)
{
    VEC sign = _mm256_srai_epi16(halves, 15);
    VEC magnitude = _mm256_and_si256(halves, _mm256_set1_epi16(0x7fff));
    VEC nan = _mm256_cmpgt_epi16(magnitude, _mm256_set1_epi16(0x7c00));
    VEC key = _mm256_sub_epi16(_mm256_xor_si256(magnitude, sign), sign);
    return _mm256_blendv_epi8(key, _mm256_set1_epi16(INT16_MIN), nan);
}
FN VEC largest_f16(VEC v)
{
    v = LARGER(v, SWAP_128(v));
    v = LARGER(v, SWAP_64(v));
    v = LARGER(v, SWAP_32(v));
    return LARGER(v, SWAP_16(v));
}
#include "../scan_vectors.h"

/* Integers: the fold is the maximum. */
#define VALUE_OF_INTEGER(x) ((npud_value){.integer = (x)})

#define NAME(x) x##_i8
#define TYPE int8_t
#define DTYPE NPUD_INT8
#define FALLING(t) 0
#define BOUND(t) _mm256_set1_epi8((int8_t)(t).integer)
#define LIMIT(t) BOUND(t)
#define FOLD(falling, a, b) ((void)(falling), _mm256_max_epi8(a, b))
#define EQUAL(a, b) _mm256_cmpeq_epi8(a, b)
#define FOLDS_EXACTLY 1
#define GATHER npud_avx2_gather_8
#define SINGLE_HITS 0
#define KEY_OF(v) (v)
#define LOWEST _mm256_set1_epi8(INT8_MIN)
#define LARGER(a, b) _mm256_max_epi8(a, b)
#define SAME(a, b) EQUAL(a, b)
#define REACHES(a, b) EQUAL(LARGER(a, b), a)
#define LARGEST_LANE(v) largest_i8(v)
#define VALUE VALUE_OF_INTEGER
#define IS_NAN(x) 0
#define VALUE_REACHES(v, t) ((v).integer >= (t).integer)
FN VEC largest_i8(VEC v)
{
    v = LARGER(v, SWAP_128(v));
    v = LARGER(v, SWAP_64(v));
    v = LARGER(v, SWAP_32(v));
    v = LARGER(v, SWAP_16(v));
    return LARGER(v, SWAP_8(v));
}
#include "../scan_vectors.h"

#define NAME(x) x##_u8
#define TYPE uint8_t
#define DTYPE NPUD_UINT8
#define FALLING(t) 0
#define BOUND(t) _mm256_set1_epi8((int8_t)(t).integer)
#define LIMIT(t) BOUND(t)
#define FOLD(falling, a, b) ((void)(falling), _mm256_max_epu8(a, b))
#define EQUAL(a, b) _mm256_cmpeq_epi8(a, b)
#define FOLDS_EXACTLY 1
#define GATHER npud_avx2_gather_8
#define SINGLE_HITS 0
#define KEY_OF(v) (v)
#define LOWEST _mm256_setzero_si256()
#define LARGER(a, b) _mm256_max_epu8(a, b)
#define SAME(a, b) EQUAL(a, b)
#define REACHES(a, b) EQUAL(LARGER(a, b), a)
#define LARGEST_LANE(v) largest_u8(v)
#define VALUE VALUE_OF_INTEGER
#define IS_NAN(x) 0
#define VALUE_REACHES(v, t) ((v).integer >= (t).integer)
FN VEC largest_u8(VEC v)
{
    v = LARGER(v, SWAP_128(v));
    v = LARGER(v, SWAP_64(v));
    v = LARGER(v, SWAP_32(v));
    v = LARGER(v, SWAP_16(v));
    return LARGER(v, SWAP_8(v));
}
#include "../scan_vectors.h"

#define NAME(x) x##_i16
#define TYPE int16_t
#define DTYPE NPUD_INT16
#define FALLING(t) 0
#define BOUND(t) _mm256_set1_epi16((int16_t)(t).integer)
#define LIMIT(t) BOUND(t)
#define FOLD(falling, a, b) ((void)(falling), _mm256_max_epi16(a, b))
#define EQUAL(a, b) _mm256_cmpeq_epi16(a, b)
#define FOLDS_EXACTLY 1
#define GATHER npud_gather_16
#define SINGLE_HITS 0
#define KEY_OF(v) (v)
#define LOWEST _mm256_set1_epi16(INT16_MIN)
#define LARGER(a, b) _mm256_max_epi16(a, b)
#define SAME(a, b) EQUAL(a, b)
#define REACHES(a, b) EQUAL(LARGER(a, b), a)
#define LARGEST_LANE(v) largest_f16(v)
#define VALUE VALUE_OF_INTEGER
#define IS_NAN(x) 0
#define VALUE_REACHES(v, t) ((v).integer >= (t).integer)
#include "../scan_vectors.h"

#define NAME(x) x##_i32
#define TYPE int32_t
#define DTYPE NPUD_INT32
#define FALLING(t) 0
#define BOUND(t) _mm256_set1_epi32((t).integer)
#define LIMIT(t) BOUND(t)
#define FOLD(falling, a, b) ((void)(falling), _mm256_max_epi32(a, b))
#define EQUAL(a, b) _mm256_cmpeq_epi32(a, b)
#define FOLDS_EXACTLY 1
#define GATHER npud_avx2_gather_32
#define SINGLE_HITS 3
#define KEY_OF(v) (v)
#define LOWEST _mm256_set1_epi32(INT32_MIN)
#define LARGER(a, b) _mm256_max_epi32(a, b)
#define SAME(a, b) EQUAL(a, b)
#define REACHES(a, b) EQUAL(LARGER(a, b), a)
#define LARGEST_LANE(v) largest_i32(v)
#define VALUE VALUE_OF_INTEGER
#define IS_NAN(x) 0
#define VALUE_REACHES(v, t) ((v).integer >= (t).integer)
FN VEC largest_i32(VEC v)
{
    v = LARGER(v, SWAP_128(v));
    v = LARGER(v, SWAP_64(v));
    return LARGER(v, SWAP_32(v));
}
#include "../scan_vectors.h"

#define ALL_TYPES(x) {x##_f32, x##_f16, x##_i8, x##_u8, x##_i16, x##_i32}

const npud_kernels npud_kernels_avx2 = {
    "avx2",
    ALL_TYPES(scan_planes),
    ALL_TYPES(scan_rows),
    ALL_TYPES(scan_listed),
    ALL_TYPES(best),
    {npud_avx2_dfl_f32, npud_avx2_dfl_f16, npud_avx2_dfl_i8, npud_avx2_dfl_u8, npud_avx2_dfl_i16,
     npud_avx2_dfl_i32},
    npud_avx2_overlaps,
};
#else
typedef int npud_no_avx2; /* a file must declare something */
#endif
