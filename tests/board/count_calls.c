/* A plugin of qemu-user (plugin API 1: qemu 4.2 to 8.2): exact guest instructions of every call of
 * given functions of one shared object.
 *
 *   -plugin count_calls.so,out=FILE,text=LOW:HIGH,entry=NAME:ADDRESS:CODE[,entry=…]
 *
 * LOW, HIGH and ADDRESS are hexadecimal, relative to where the object is loaded; CODE is the
 * beginning of the function in hexadecimal, by which it is recognised wherever it is loaded.  A call
 * lasts from the function's first instruction to the last one executed inside the object before any
 * given function is entered again, with everything called in between.  FILE gets a line "NAME count"
 * per call.
 *
 * Own declarations of the documented interface. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*translated)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*executed)(unsigned, void *);
typedef void (*ended)(qemu_plugin_id_t, void *);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, translated);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, executed, int flags, void *);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, ended, void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
void *qemu_plugin_insn_haddr(const struct qemu_plugin_insn *);

EXPORT int qemu_plugin_version = 1;

enum { MAX_ENTRIES = 4, MAX_CODE = 128, OUTSIDE = 0, INSIDE = 1, ENTRY = 2 };

typedef struct {
    char name[64];
    uint64_t address;
    unsigned char code[MAX_CODE];
    size_t code_size;
} entry;

static entry entries[MAX_ENTRIES];
static int entry_count;
static uint64_t text_low, text_high, base; /* base 0: not loaded yet, as far as known */
static uint64_t total, start, end;
static const entry *active;
static FILE *out;

static void finish(void)
{
    if (active)
        fprintf(out, "%s %" PRIu64 "\n", active->name, end - start);
    active = NULL;
}

/* data: instructions of the block · 256 + ENTRY and index, INSIDE or OUTSIDE */
static void count(unsigned cpu, void *data)
{
    uintptr_t value = (uintptr_t)data, kind = value & 255;
    (void)cpu;
    if (kind >= ENTRY) {
        finish();
        active = &entries[kind - ENTRY];
        start = total;
    }
    total += value >> 8;
    if (kind != OUTSIDE)
        end = total;
}

/* Stops at the first difference, so that it does not read beyond the code where it is another. */
static int has_code(const unsigned char *block, const entry *e)
{
    for (size_t i = 0; i < e->code_size; i++)
        if (block[i] != e->code[i])
            return 0;
    return 1;
}

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    uint64_t address = qemu_plugin_tb_vaddr(block);
    const unsigned char *code = qemu_plugin_insn_haddr(qemu_plugin_tb_get_insn(block, 0));
    uintptr_t kind = OUTSIDE;
    (void)id;
    for (int i = 0; code && i < entry_count; i++)
        if (has_code(code, &entries[i])) {
            base = address - entries[i].address;
            kind = ENTRY + (uintptr_t)i;
        }
    if (kind == OUTSIDE && base && address >= base + text_low && address < base + text_high)
        kind = INSIDE;
    uintptr_t data = qemu_plugin_tb_n_insns(block) << 8 | kind;
    qemu_plugin_register_vcpu_tb_exec_cb(block, count, 0, (void *)data);
}

static void at_exit(qemu_plugin_id_t id, void *data)
{
    (void)id;
    (void)data;
    finish();
    fclose(out);
}

static int add_entry(const char *text)
{
    entry *e = &entries[entry_count];
    char code[2 * MAX_CODE + 1];
    if (entry_count == MAX_ENTRIES ||
        sscanf(text, "%63[^:]:%" SCNx64 ":%256[0-9a-f]", e->name, &e->address, code) != 3)
        return -1;
    for (e->code_size = 0; code[2 * e->code_size]; e->code_size++)
        if (sscanf(code + 2 * e->code_size, "%2hhx", &e->code[e->code_size]) != 1)
            return -1;
    entry_count++;
    return 0;
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "out=", 4) == 0)
            out = fopen(argv[i] + 4, "w");
        else if (strncmp(argv[i], "entry=", 6) == 0 && add_entry(argv[i] + 6) < 0)
            return -1;
        else if (strncmp(argv[i], "text=", 5) == 0)
            sscanf(argv[i] + 5, "%" SCNx64 ":%" SCNx64, &text_low, &text_high);
    }
    if (!out || !entry_count || !text_high)
        return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_atexit_cb(id, at_exit, NULL);
    return 0;
}
