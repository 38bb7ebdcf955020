/* The scans with NEON.  Per vector of 16 bytes: 2 to 2.6 instructions of planes, 2 of rows. */
#include "neon.h"

#ifdef NPUD_NEON
#include "../bounds.h"
#include "gather.h"

/* Loads that compilers may pair, unlike vld1q. */
typedef uint32x4_t __attribute__((aligned(1), may_alias)) unaligned_vector;

#define FN __attribute__((always_inline)) static inline
#define FN_OUT __attribute__((noinline)) static
#define FN_PUBLIC static
#define VEC uint32x4_t
#define VECTOR 16
#define LOAD(p) (*(const unaligned_vector *)(const void *)(p))
/* Comparisons narrowed to four bits per byte. */
#define MASK(v) \
    vget_lane_u64(vreinterpret_u64_u8(vshrn_n_u16(vreinterpretq_u16_u32(v), 4)), 0)
#define MASK_BITS 4
#define STAY(v) __asm__("" : "+w"(v))
#define FEW_LISTED 2
#define EITHER(a, b) vorrq_u32(a, b)
#define F32(v) vreinterpretq_f32_u32(v)
#define S32(v) vreinterpretq_s32_u32(v)
#define S16(v) vreinterpretq_s16_u32(v)
#define U16(v) vreinterpretq_u16_u32(v)
#define S8(v) vreinterpretq_s8_u32(v)
#define U8(v) vreinterpretq_u8_u32(v)
#define OF_F32(v) vreinterpretq_u32_f32(v)
#define OF_S32(v) vreinterpretq_u32_s32(v)
#define OF_S16(v) vreinterpretq_u32_s16(v)
#define OF_U16(v) vreinterpretq_u32_u16(v)
#define OF_S8(v) vreinterpretq_u32_s8(v)
#define OF_U8(v) vreinterpretq_u32_u8(v)

/* LARGER is a comparison, because the maximum of a number and a signalling NaN is NaN. */
#define NAME(x) x##_f32
#define TYPE float
#define DTYPE NPUD_FLOAT32
#define FALLING(t) ((t).real <= 0.0f)
#define BOUND(t) vdupq_n_u32((uint32_t)float_bound((t).real))
#define LIMIT(t) OF_F32(vdupq_n_f32((t).real))
#define FOLD(falling, a, b) ((falling) ? vminq_u32(a, b) : OF_S32(vmaxq_s32(S32(a), S32(b))))
#define EQUAL(a, b) vceqq_u32(a, b)
#define FOLDS_EXACTLY 0
#define GATHER npud_gather_32
#define SINGLE_HITS 2
#define KEY_OF(v) (v)
#define LOWEST OF_F32(vdupq_n_f32(-1.0f / 0.0f))
#define LARGER(a, b) vbslq_u32(vcgtq_f32(F32(a), F32(b)), a, b)
#define SAME(a, b) vceqq_f32(F32(a), F32(b))
#define REACHES(a, b) vcgeq_f32(F32(a), F32(b))
#define LARGEST_LANE(v) OF_F32(vdupq_n_f32(vmaxvq_f32(F32(v))))
#define VALUE(x) ((npud_value){.real = (x)})
#define IS_NAN(x) 0
#define VALUE_REACHES(v, t) ((v).real >= (t).real)
#include "../scan_vectors.h"

#define NAME(x) x##_f16
#define TYPE uint16_t
#define DTYPE NPUD_FLOAT16
#define FALLING(t) ((t).real <= 0.0f)
#define BOUND(t) OF_S16(vdupq_n_s16(half_bound((t).real)))
#define LIMIT(t) OF_S16(vdupq_n_s16(npud_half_threshold((t).real)))
#define FOLD(falling, a, b) ((falling) ? OF_U16(vminq_u16(U16(a), U16(b))) : OF_S16(vmaxq_s16(S16(a), S16(b))))
#define EQUAL(a, b) OF_U16(vceqq_u16(U16(a), U16(b)))
#define FOLDS_EXACTLY 0
#define GATHER npud_gather_16
#define SINGLE_HITS 0
#define KEY_OF(v) half_keys(v)
#define LOWEST OF_S16(vdupq_n_s16(INT16_MIN))
#define LARGER(a, b) OF_S16(vmaxq_s16(S16(a), S16(b)))
#define SAME(a, b) EQUAL(a, b)
#define REACHES(a, b) OF_U16(vcgeq_s16(S16(a), S16(b)))
#define LARGEST_LANE(v) OF_S16(vdupq_n_s16(vmaxvq_s16(S16(v))))
#define VALUE(x) ((npud_value){.real = npud_half_value((int16_t)(x))})
#define IS_NAN(x) ((int16_t)(x) == INT16_MIN)
#define VALUE_REACHES(v, t) ((v).real >= (t).real)
/* npud_half_key of eight: (magnitude ^ sign) - sign, INT16_MIN for NaN. */
FN VEC half_keys(VEC halves)
{
    int16x8_t sign = vshrq_n_s16(S16(halves), 15);
    int16x8_t magnitude = vandq_s16(S16(halves), vdupq_n_s16(0x7fff));
    uint16x8_t nan = vcgtq_s16(magnitude, vdupq_n_s16(0x7c00));
    int16x8_t key = vsubq_s16(veorq_s16(magnitude, sign), sign);
    return OF_S16(vbslq_s16(nan, vdupq_n_s16(INT16_MIN), key));
}
#include "../scan_vectors.h"

/* Integers: the fold is the maximum. */
#define VALUE_OF_INTEGER(x) ((npud_value){.integer = (x)})

#define NAME(x) x##_i8
#define TYPE int8_t
#define DTYPE NPUD_INT8
#define FALLING(t) 0
#define BOUND(t) OF_S8(vdupq_n_s8((int8_t)(t).integer))
#define LIMIT(t) BOUND(t)
#define FOLD(falling, a, b) ((void)(falling), OF_S8(vmaxq_s8(S8(a), S8(b))))
#define EQUAL(a, b) OF_U8(vceqq_s8(S8(a), S8(b)))
#define FOLDS_EXACTLY 1
#define GATHER npud_neon_gather_8
#define SINGLE_HITS 0
#define KEY_OF(v) (v)
#define LOWEST OF_S8(vdupq_n_s8(INT8_MIN))
#define LARGER(a, b) OF_S8(vmaxq_s8(S8(a), S8(b)))
#define SAME(a, b) EQUAL(a, b)
#define REACHES(a, b) OF_U8(vcgeq_s8(S8(a), S8(b)))
#define LARGEST_LANE(v) OF_S8(vdupq_n_s8(vmaxvq_s8(S8(v))))
#define VALUE VALUE_OF_INTEGER
#define IS_NAN(x) 0
#define VALUE_REACHES(v, t) ((v).integer >= (t).integer)
#include "../scan_vectors.h"

#define NAME(x) x##_u8
#define TYPE uint8_t
#define DTYPE NPUD_UINT8
#define FALLING(t) 0
#define BOUND(t) OF_U8(vdupq_n_u8((uint8_t)(t).integer))
#define LIMIT(t) BOUND(t)
#define FOLD(falling, a, b) ((void)(falling), OF_U8(vmaxq_u8(U8(a), U8(b))))
#define EQUAL(a, b) OF_U8(vceqq_u8(U8(a), U8(b)))
#define FOLDS_EXACTLY 1
#define GATHER npud_neon_gather_8
#define SINGLE_HITS 0
#define KEY_OF(v) (v)
#define LOWEST OF_U8(vdupq_n_u8(0))
#define LARGER(a, b) OF_U8(vmaxq_u8(U8(a), U8(b)))
#define SAME(a, b) EQUAL(a, b)
#define REACHES(a, b) OF_U8(vcgeq_u8(U8(a), U8(b)))
#define LARGEST_LANE(v) OF_U8(vdupq_n_u8(vmaxvq_u8(U8(v))))
#define VALUE VALUE_OF_INTEGER
#define IS_NAN(x) 0
#define VALUE_REACHES(v, t) ((v).integer >= (t).integer)
#include "../scan_vectors.h"

#define NAME(x) x##_i16
#define TYPE int16_t
#define DTYPE NPUD_INT16
#define FALLING(t) 0
#define BOUND(t) OF_S16(vdupq_n_s16((int16_t)(t).integer))
#define LIMIT(t) BOUND(t)
#define FOLD(falling, a, b) ((void)(falling), OF_S16(vmaxq_s16(S16(a), S16(b))))
#define EQUAL(a, b) OF_U16(vceqq_s16(S16(a), S16(b)))
#define FOLDS_EXACTLY 1
#define GATHER npud_gather_16
#define SINGLE_HITS 0
#define KEY_OF(v) (v)
#define LOWEST OF_S16(vdupq_n_s16(INT16_MIN))
#define LARGER(a, b) OF_S16(vmaxq_s16(S16(a), S16(b)))
#define SAME(a, b) EQUAL(a, b)
#define REACHES(a, b) OF_U16(vcgeq_s16(S16(a), S16(b)))
#define LARGEST_LANE(v) OF_S16(vdupq_n_s16(vmaxvq_s16(S16(v))))
#define VALUE VALUE_OF_INTEGER
#define IS_NAN(x) 0
#define VALUE_REACHES(v, t) ((v).integer >= (t).integer)
#include "../scan_vectors.h"

#define NAME(x) x##_i32
#define TYPE int32_t
#define DTYPE NPUD_INT32
#define FALLING(t) 0
#define BOUND(t) OF_S32(vdupq_n_s32((int32_t)(t).integer))
#define LIMIT(t) BOUND(t)
#define FOLD(falling, a, b) ((void)(falling), OF_S32(vmaxq_s32(S32(a), S32(b))))
#define EQUAL(a, b) vceqq_s32(S32(a), S32(b))
#define FOLDS_EXACTLY 1
#define GATHER npud_gather_32
#define SINGLE_HITS 0
#define KEY_OF(v) (v)
#define LOWEST OF_S32(vdupq_n_s32(INT32_MIN))
#define LARGER(a, b) OF_S32(vmaxq_s32(S32(a), S32(b)))
#define SAME(a, b) EQUAL(a, b)
#define REACHES(a, b) vcgeq_s32(S32(a), S32(b))
#define LARGEST_LANE(v) OF_S32(vdupq_n_s32(vmaxvq_s32(S32(v))))
#define VALUE VALUE_OF_INTEGER
#define IS_NAN(x) 0
#define VALUE_REACHES(v, t) ((v).integer >= (t).integer)
#include "../scan_vectors.h"

#define ALL_TYPES(x) {x##_f32, x##_f16, x##_i8, x##_u8, x##_i16, x##_i32}

const npud_kernels npud_kernels_neon = {
    "neon",
    ALL_TYPES(scan_planes),
    ALL_TYPES(scan_rows),
    ALL_TYPES(scan_listed),
    ALL_TYPES(best),
    {npud_neon_dfl_f32, npud_neon_dfl_f16, npud_neon_dfl_i8, npud_neon_dfl_u8, npud_neon_dfl_i16,
     npud_neon_dfl_i32},
    npud_neon_overlaps,
};
#endif
