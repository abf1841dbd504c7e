/* SPDX-License-Identifier: MIT
 *
 * Copyright (c) 2026 the edgekd authors
 *
 * Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation
 * files (the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy,
 * modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the
 * Software is furnished to do so, subject to the following conditions: The above copyright notice and this permission notice
 * shall be included in all copies or substantial portions of the Software.
 *
 * THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
 * WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
 * COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE,
 * ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
 *
 * A plugin for QEMU's user mode that counts the guest's instructions between marks. A program marks a point by the system call
 * getpgid(0x5A5A00 | k), k from 0 to 255, which fails with ESRCH and does nothing anywhere else. At each mark, and at the end,
 * one line is appended to the file of the argument `out`:
 *
 *     mark K INSTRUCTIONS        end 0 INSTRUCTIONS
 *
 * Counts are of the whole process since its start, exact for one thread. The plugin interface is declared here by hand
 * (version 1, of QEMU 4.2 and later; Debian's package brings no header), so nothing of QEMU is needed to compile it:
 *
 *     gcc -O2 -shared -fPIC -o roi.so roi.c
 *     qemu-x86_64 -plugin roi.so,out=/tmp/counts PROGRAM
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))
#define MARK 0x5A5A00u
#define ADD_U64 0

typedef uint64_t plugin_id;
struct qemu_plugin_tb;

typedef void (*on_translation)(plugin_id, struct qemu_plugin_tb *);
typedef void (*on_syscall)(plugin_id, unsigned vcpu, int64_t number, uint64_t first, uint64_t, uint64_t, uint64_t, uint64_t,
                           uint64_t, uint64_t, uint64_t);
typedef void (*on_exit)(plugin_id, void *);

extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, on_translation);
extern void qemu_plugin_register_vcpu_syscall_cb(plugin_id, on_syscall);
extern void qemu_plugin_register_atexit_cb(plugin_id, on_exit, void *);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int operation, void *where, uint64_t value);

EXPORTED int qemu_plugin_version = 1;

static uint64_t instructions;
static int output = STDERR_FILENO;
static int64_t getpgid_number;

static void report(const char *what, unsigned mark)
{
    char line[64];
    int length = snprintf(line, sizeof line, "%s %u %llu\n", what, mark, (unsigned long long)instructions);
    if (write(output, line, (size_t)length) != length)
        _exit(125);
}

static void translated(plugin_id id, struct qemu_plugin_tb *block)
{
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &instructions, qemu_plugin_tb_n_insns(block));
}

static void called(plugin_id id, unsigned vcpu, int64_t number, uint64_t first, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                   uint64_t f, uint64_t g, uint64_t h)
{
    (void)id, (void)vcpu, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    if (number == getpgid_number && (first & ~0xffull) == MARK)
        report("mark", (unsigned)(first & 0xff));
}

static void ended(plugin_id id, void *nothing)
{
    (void)id, (void)nothing;
    report("end", 0);
}

/* `info` begins with the guest's name in every version of the interface. */
EXPORTED int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    static const struct {
        const char *guest;
        int64_t getpgid;
    } numbers[] = {{"aarch64", 155}, {"arm", 132}, {"x86_64", 121}};
    const char *guest = *(const char *const *)info;

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!strcmp(guest, numbers[i].guest))
            getpgid_number = numbers[i].getpgid;
    if (!getpgid_number)
        return -1;
    for (int i = 0; i < argc; i++)
        if (!strncmp(argv[i], "out=", 4))
            output = open(argv[i] + 4, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (output < 0)
        return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
