/* Scans in portable C, written so that compilers vectorise the inner loops. */
#include "portable.h"

#include "../halves.h"

enum { PLANES = 8 };

#define NAME(x) x##_f32
#define TYPE float
#define KEY float
#define LOWEST (-1.0f / 0.0f)
#define LOAD(x) (x)
#define THRESHOLD(v) ((v).real)
#define VALUE(x) ((npud_value){.real = (x)})
#define IS_NAN(x) ((x) != (x))
#define VALUE_REACHES(v, t) ((v).real >= (t).real)
#include "scan_type.h"

#define NAME(x) x##_f16
#define TYPE uint16_t
#define KEY int16_t
#define LOWEST INT16_MIN
#define LOAD(x) npud_half_key(x)
#define THRESHOLD(v) npud_half_threshold((v).real)
#define VALUE(x) ((npud_value){.real = npud_half_value(x)})
#define IS_NAN(x) ((x) == INT16_MIN)
#define VALUE_REACHES(v, t) ((v).real >= (t).real)
#include "scan_type.h"

#define INTEGER(x) ((npud_value){.integer = (x)})

#define NAME(x) x##_i8
#define TYPE int8_t
#define KEY int8_t
#define LOWEST INT8_MIN
#define LOAD(x) (x)
#define THRESHOLD(v) ((int8_t)(v).integer)
#define VALUE INTEGER
#define IS_NAN(x) 0
#define VALUE_REACHES(v, t) ((v).integer >= (t).integer)
#include "scan_type.h"

#define NAME(x) x##_u8
#define TYPE uint8_t
#define KEY uint8_t
#define LOWEST 0
#define LOAD(x) (x)
#define THRESHOLD(v) ((uint8_t)(v).integer)
#define VALUE INTEGER
#define IS_NAN(x) 0
#define VALUE_REACHES(v, t) ((v).integer >= (t).integer)
#include "scan_type.h"

#define NAME(x) x##_i16
#define TYPE int16_t
#define KEY int16_t
#define LOWEST INT16_MIN
#define LOAD(x) (x)
#define THRESHOLD(v) ((int16_t)(v).integer)
#define VALUE INTEGER
#define IS_NAN(x) 0
#define VALUE_REACHES(v, t) ((v).integer >= (t).integer)
#include "scan_type.h"

#define NAME(x) x##_i32
#define TYPE int32_t
#define KEY int32_t
#define LOWEST INT32_MIN
#define LOAD(x) (x)
#define THRESHOLD(v) ((v).integer)
#define VALUE INTEGER
#define IS_NAN(x) 0
#define VALUE_REACHES(v, t) ((v).integer >= (t).integer)
#include "scan_type.h"

#define ALL_TYPES(x) {x##_f32, x##_f16, x##_i8, x##_u8, x##_i16, x##_i32}

const npud_kernels npud_kernels_scalar = {
    "scalar",
    ALL_TYPES(scan_planes),
    ALL_TYPES(scan_rows),
    ALL_TYPES(scan_listed),
    ALL_TYPES(best),
    {npud_portable_dfl_f32, npud_portable_dfl_f16, npud_portable_dfl_i8, npud_portable_dfl_u8,
     npud_portable_dfl_i16, npud_portable_dfl_i32},
    npud_portable_overlaps,
};
