/* What the files of GDB's stub share. */
#ifndef UMBRA_VMM_GDB_STUB_CORE_H
#define UMBRA_VMM_GDB_STUB_CORE_H

#include <stdbool.h>

#include "vmm/gdb/reader.h"
#include "vmm/gdb/stub.h"

/* --- stub.c --- */

void gdb_reply(struct gdb_stub *s, const char *text);
/* OK or the number of the error. */
void gdb_reply_status(struct gdb_stub *s, int err);
/* What GDB has sent cannot be read. */
void gdb_reply_wrong(struct gdb_stub *s);
/* Is the thread at hand there? Else that is the reply. */
bool gdb_has_thread(struct gdb_stub *s);

/* --- stub_data.c: commands, by what follows their letter --- */

void gdb_cmd_registers(struct gdb_stub *s, struct gdb_reader *r);
void gdb_cmd_set_registers(struct gdb_stub *s, struct gdb_reader *r);
void gdb_cmd_register(struct gdb_stub *s, struct gdb_reader *r);
void gdb_cmd_set_register(struct gdb_stub *s, struct gdb_reader *r);
void gdb_cmd_read(struct gdb_stub *s, struct gdb_reader *r);
void gdb_cmd_write(struct gdb_stub *s, struct gdb_reader *r);
void gdb_cmd_write_binary(struct gdb_stub *s, struct gdb_reader *r);

#endif
