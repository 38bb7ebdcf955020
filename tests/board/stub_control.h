/* What tests ask of stub_rknnrt.c: faults by environment variable, and counts. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* what a test may ask: stub_counts() */
typedef struct { uint64_t inits, dups, contexts, mems, runs, bytes_in, bytes_out, floats_out, last_checksum, runs_on_mask[8]; } stub_counts_t;

static stub_counts_t counted;
#define COUNT(field, by) __atomic_add_fetch(&counted.field, (uint64_t)(by), __ATOMIC_RELAXED)


static int is(const char *variable, const char *value)
{
    const char *set = getenv(variable);
    return set && strcmp(set, value) == 0;
}

static pthread_mutex_t fault_lock = PTHREAD_MUTEX_INITIALIZER;

/* The code to return instead of doing the call's work; 0 for none.  `null` is 1. */
static int fault(const char *call)
{
    static struct { char name[32]; int calls; } seen[32];
    const char *at = getenv("STUB_FAULT");
    size_t length = strlen(call);
    int nth = 0;
    pthread_mutex_lock(&fault_lock);
    for (int i = 0; i < 32 && !nth; i++)
        if (!seen[i].name[0] || strcmp(seen[i].name, call) == 0) {
            strcpy(seen[i].name, call);
            nth = ++seen[i].calls;
        }
    pthread_mutex_unlock(&fault_lock);
    for (; at && *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        if (strncmp(at, call, length) || at[length] != '=')
            continue;
        char code[16] = "";
        int number = 0;
        sscanf(at + length + 1, "%15[^@,]@%d", code, &number);
        if (number && number != nth)
            continue;
        if (strcmp(code, "crash") == 0)
            abort();
        while (strcmp(code, "hang") == 0)
            pause();
        return strcmp(code, "null") == 0 ? 1 : atoi(code);
    }
    return 0;
}

#define TRY(call) do { int code_ = fault(call); if (code_) return code_; } while (0)
