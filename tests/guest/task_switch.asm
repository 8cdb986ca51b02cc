; Hardware task switches: CALL, JMP and IRET, INT and exceptions through task gates; to 32-bit,
; 16-bit, virtual-8086 and user tasks; with paging on and page tables of a task's own.
%include "guest.inc"

%define TS 10
%define NP 11
%define GP 13

; Selectors.
%define CODE 0x08
%define DATA 0x10
%define MAIN 0x18
%define SUB 0x20
%define SMALL 0x28	; a 16-bit TSS
%define V86 0x30
%define USER 0x38
%define SHORT_TSS 0x40	; its limit is too low
%define ABSENT 0x48
%define CODE16 0x50
%define STACK16 0x58
%define UCODE 0x63
%define UDATA 0x6b
%define FAULT_DF 0x70
%define FAULT_TS 0x78
%define FAULT_NP 0x80
%define FAULT_GP 0x88
%define NO_SEGMENT 0x1230

; Fields of a 32-bit TSS.
%define LINK 0x00
%define CR3 0x1c
%define EIP 0x20
%define EFLAGS 0x24
%define EBX 0x34
%define DS 0x54
%define TRAP 0x64

%define NT 0x4000

%define V86_CODE 0x9000
%define WINDOW 0x800000	; another frame in SUB's tables
%define OTHER_FRAME 0xc00000

; TSS32 name, eip, eflags, code and data selectors
%macro TSS32 5
	section .bss
	alignb 16
	resb 512
%1_stack:
	section .data
	align 128
%1:	times 7 dd 0
	dd page_dir, %2, %3
	dd 0, 0, 0, 0, %1_stack, 0, 0, 0
	dd %5, %4, %5, %5, %5, %5
	dd 0
	dw 0, 0x68
	section .text
%endmacro

; BASE selector, address: into the descriptor in the GDT.
%macro BASE 2
	mov eax, %2
	mov [gdt + (%1 & ~7) + 2], ax
	shr eax, 16
	mov [gdt + (%1 & ~7) + 4], al
	mov [gdt + (%1 & ~7) + 7], ah
%endmacro

; TASK_GATE vector, selector
%macro TASK_GATE 2
	mov dword [idt + %1 * 8], (%2) << 16
	mov dword [idt + %1 * 8 + 4], 0xe500 ; DPL 3
%endmacro

; EXPECT_MEM address, value
%macro EXPECT_MEM 2
	mov edx, [%1]
	EXPECT edx, %2
%endmacro

; EXPECT_TYPE selector, its descriptor's byte with P, DPL and type
%macro EXPECT_TYPE 2
	movzx edx, byte [gdt + (%1 & ~7) + 5]
	EXPECT edx, %2
%endmacro

; What is true of a task just switched to: TR, and CR0.TS.
%macro EXPECT_TASK 1
	str edx
	EXPECT edx, %1
	mov edx, cr0
	and edx, 8
	EXPECT edx, 8
	clts
%endmacro

%macro EXPECT_NT 1
	pushfd
	pop edx
	and edx, NT
	EXPECT edx, %1
%endmacro

; FAULTS vector, error code, instruction: it raises that, at itself.
%macro FAULTS 3+
	mov dword [resume], %%after
	mov dword [fault_vector], 0xff
%%insn:
	%3
%%after:
	EXPECT_TASK MAIN
	EXPECT_MEM fault_vector, %1
	EXPECT_MEM fault_error, %2
	EXPECT_MEM fault_eip, %%insn
%endmacro

; FAULT_TASK name, vector: behind that vector's gate; goes on at [resume] in MAIN.
%macro FAULT_TASK 2
	TSS32 %1, %%entry, 2, CODE, DATA
%%entry:
	EXPECT_NT NT
	mov dword [fault_vector], %2
	pop dword [fault_error]
	mov eax, [main_tss + EIP]
	mov [fault_eip], eax
	mov eax, [resume]
	mov [main_tss + EIP], eax
	mov dword [sub_tss + DS], DATA
	cmp dword [sub_resume], 0
	je %%return
	mov eax, [sub_tss + EIP]
	mov [fault_eip], eax
	mov eax, [sub_resume]
	mov [sub_tss + EIP], eax
%%return:
	iret
	jmp %%entry
%endmacro

	GUEST
	call set_tables

	; CALL, and IRET back; once more to go on behind the IRET.
	mov eax, 0x155		; local breakpoints, none of them reached
	mov dr7, eax
	mov ebx, 0x12345678
	call SUB:0
	EXPECT ebx, 0x12345678
	EXPECT_TASK MAIN
	EXPECT_NT 0
	mov edx, dr7
	and edx, 0x55
	EXPECT edx, 0
	EXPECT_MEM sub_runs, 1
	EXPECT_MEM window_seen, 'subt'
	EXPECT_MEM WINDOW, 'main'
	EXPECT_MEM sub_tss + LINK, MAIN
	EXPECT_MEM main_tss + EBX, 0x12345678
	EXPECT_MEM main_tss + CR3, page_dir
	EXPECT_TYPE SUB, 0x89
	EXPECT_TYPE MAIN, 0x8b
	call far [sub_pointer]
	EXPECT_TASK MAIN
	EXPECT_MEM sub_runs, 2
	SAY "CALL and IRET"

	; JMP there and back: no nesting, the busy bit goes along.
	mov dword [sub_jumps], 1
	mov dword [sub_tss + LINK], 0
	jmp SUB:0
	EXPECT_TASK MAIN
	EXPECT_NT 0
	EXPECT_MEM sub_runs, 3
	EXPECT_MEM sub_tss + LINK, 0
	EXPECT_TYPE SUB, 0x89
	EXPECT_TYPE MAIN, 0x8b
	mov dword [sub_jumps], 0
	SAY "JMP"

	; INT through a task gate: returns behind it.
int_insn:
	int 0x40
after_int:
	EXPECT_TASK MAIN
	EXPECT_MEM sub_runs, 4
	cmp dword [int_missing], 0	; Bochs: reports the event before it in place of an INT n
	je .int_right
	SAY "INT n is taken for an interrupt (Bochs does not say what it is)"
.int_right:
	EXPECT_MEM main_tss + EIP, after_int
	TASK_GATE 3, SUB
	int3
after_int3:
	EXPECT_TASK MAIN
	EXPECT_MEM sub_runs, 5
	EXPECT_MEM main_tss + EIP, after_int3
	SAY "INT through a task gate"

	; Exceptions through task gates, with their error codes; and what a switch refuses.
	mov eax, NO_SEGMENT
	FAULTS GP, NO_SEGMENT, mov fs, eax
	FAULTS GP, MAIN, call MAIN:0
	FAULTS GP, CODE16, int 0x42
	FAULTS TS, SHORT_TSS, call SHORT_TSS:0
	FAULTS NP, ABSENT, jmp ABSENT:0
	; The interrupted task has #NP on the way to #GP: #DF. Its EIP is not to be relied on.
	mov byte [idt + GP * 8 + 5], 0
	mov dword [resume], .after_df
	mov eax, NO_SEGMENT
	mov fs, eax
.after_df:
	EXPECT_TASK MAIN
	EXPECT_MEM fault_vector, 8
	EXPECT_MEM fault_error, 0
	mov byte [idt + GP * 8 + 5], 0xe5
	SAY "exceptions through task gates"

	; A task whose own segment is bad: #TS is the new task's, and its handler sees it there.
	mov dword [sub_tss + DS], NO_SEGMENT
	mov dword [resume], .after_bad
	mov dword [fault_vector], 0xff
	mov dword [sub_tss + EIP], bad_sub
	mov dword [sub_resume], bad_sub
	call SUB:0
.after_bad:
	EXPECT_TASK MAIN
	EXPECT_MEM bad_runs, 1
	EXPECT_MEM fault_vector, TS
	EXPECT_MEM fault_error, NO_SEGMENT
	mov dword [sub_resume], 0
	SAY "a fault of the new task's own"
	cmp dword [fault_eip], bad_sub
	jne .sixteen		; QEMU: has the old task's EIP there
	SAY "its first instruction is to come"
.sixteen:

	; A 16-bit task. The registers' upper halves are not told by the manuals.
	mov dword [small_fs], 0xffff
	call SMALL:0
	EXPECT_TASK MAIN
	movzx edx, word [small_eax]
	EXPECT edx, 0x1122
	EXPECT_MEM small_fs, 0
	EXPECT_MEM small_tr, SMALL
	EXPECT_TYPE SMALL, 0x81
	mov edx, fs
	EXPECT edx, DATA
	call SMALL:0		; from behind its IRET
	EXPECT_TASK MAIN
	SAY "a 16-bit task"

	; Two that come back through a gate to MAIN, which is then nested in them.
	cmp dword [int_missing], 0
	jne .no_v86		; Bochs: panics when a guest leaves virtual-8086 mode
	jmp V86:0
	EXPECT_TASK MAIN
	EXPECT_NT NT
	EXPECT_MEM main_tss + LINK, V86
	EXPECT_MEM v86_tss + EIP, 2
	EXPECT_TYPE V86, 0x8b
	mov edx, [v86_tss + EFLAGS]
	and edx, 0x20000
	EXPECT edx, 0x20000
	call clear_nt
	SAY "a virtual-8086 task"
.no_v86:
	jmp USER:0
	EXPECT_TASK MAIN
	EXPECT_NT NT
	EXPECT_MEM main_tss + LINK, USER
	mov edx, [user_tss + EIP]
	add edx, [int_missing]
	EXPECT edx, after_user_int
	EXPECT_MEM user_cs, UCODE
	call clear_nt
	SAY "a user task"

	; T. QEMU: does not have it.
	mov dword [sub_tss + EIP], trapped_sub
	mov word [sub_tss + TRAP], 1
	call SUB:0
	EXPECT_TASK MAIN
	cmp dword [traps], 0
	je .no_trap
	EXPECT_MEM traps, 1
	mov edx, [trap_dr6]
	and edx, 0x8000
	EXPECT edx, 0x8000
	EXPECT_MEM trap_eip, trapped_sub
	SAY "the T bit traps"
.no_trap:
	SAY "all task switches done"
	EXIT EXIT_OK

clear_nt:
	pushfd
	and dword [esp], ~NT
	popfd
	ret

; --- the tasks ---

	TSS32 main_tss, 0, 2, CODE, DATA
	TSS32 sub_tss, sub_task, 2, CODE, DATA
	TSS32 v86_tss, 0, 0x23002, V86_CODE / 16, V86_CODE / 16
	TSS32 user_tss, user_task, 2, UCODE, UDATA
	FAULT_TASK fault_df, 8
	FAULT_TASK fault_ts, TS
	FAULT_TASK fault_np, NP
	FAULT_TASK fault_gp, GP

sub_task:
	EXPECT_TASK SUB
	inc dword [sub_runs]
	mov eax, [WINDOW]
	mov [window_seen], eax
	cmp dword [sub_jumps], 0
	jne .jump
	EXPECT_NT NT
	cmp dword [main_tss + EIP], int_insn
	jne .return
	mov dword [int_missing], 2
	mov dword [main_tss + EIP], after_int
.return:
	iret
	jmp sub_task
.jump:
	EXPECT_NT 0
	jmp MAIN:0
	jmp sub_task

; Runs once fault_ts returns to it, having mended its DS and told it where to go on.
bad_sub:
	inc dword [bad_runs]
	iret
	jmp sub_task

trapped_sub:
	iret

user_task:
	mov [user_cs], cs
	int 0x41
after_user_int:
	jmp after_user_int

debug_trap:
	inc dword [traps]
	mov eax, [esp]
	mov [trap_eip], eax
	mov eax, dr6
	mov [trap_dr6], eax
	iret

	bits 16
small_task:
	mov [dword small_eax], eax
	mov [dword small_fs], fs
	str ax
	mov [dword small_tr], ax
	mov ax, 0x1122
	iret
	jmp small_task
v86_task:
	int 0x41
	jmp v86_task
v86_task_end:
	bits 32

; --- set up ---

set_tables:
	lgdt [gdtr]
	jmp CODE:.cs
.cs:
	mov eax, DATA
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov fs, eax
	mov gs, eax
	BASE MAIN, main_tss
	BASE SUB, sub_tss
	BASE SMALL, small_tss
	BASE V86, v86_tss
	BASE USER, user_tss
	BASE SHORT_TSS, sub_tss
	BASE ABSENT, sub_tss
	BASE CODE16, small_task
	BASE STACK16, small_stack
	BASE FAULT_DF, fault_df
	BASE FAULT_TS, fault_ts
	BASE FAULT_NP, fault_np
	BASE FAULT_GP, fault_gp
	mov dword [sub_tss + CR3], sub_page_dir
	mov ax, MAIN
	ltr ax

	TASK_GATE 8, FAULT_DF
	TASK_GATE TS, FAULT_TS
	TASK_GATE NP, FAULT_NP
	TASK_GATE GP, FAULT_GP
	TASK_GATE 0x40, SUB
	TASK_GATE 0x41, MAIN
	TASK_GATE 0x42, CODE16	; leads to no TSS
	mov eax, debug_trap
	mov [idt + 8], ax
	mov word [idt + 10], CODE
	mov word [idt + 12], 0x8e00
	shr eax, 16
	mov [idt + 14], ax
	lidt [idtr]

	mov eax, [v86_task]
	mov [V86_CODE], eax

	; 16 MiB one to one in 4 MiB pages, twice.
	mov eax, 0x87
	xor ecx, ecx
.page:
	mov [page_dir + ecx * 4], eax
	mov [sub_page_dir + ecx * 4], eax
	add eax, 0x400000
	inc ecx
	cmp ecx, 4
	jb .page
	mov dword [sub_page_dir + 4 * (WINDOW >> 22)], OTHER_FRAME | 0x87
	mov dword [WINDOW], 'main'
	mov dword [OTHER_FRAME], 'subt'
	mov eax, page_dir
	mov cr3, eax
	mov eax, cr4
	or eax, 0x10
	mov cr4, eax
	mov eax, cr0
	or eax, 0x80000000
	mov cr0, eax
	ret

	section .data
	align 8
gdt:	dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
	dq 0x0000890000000067, 0x0000890000000067, 0x000081000000002b	; MAIN, SUB, SMALL
	dq 0x0000890000000067, 0x0000890000000067			; V86, USER
	dq 0x0000890000000066, 0x0000090000000067			; SHORT_TSS, ABSENT
	dq 0x00009b000000ffff, 0x000093000000ffff			; CODE16, STACK16
	dq 0x00cffb000000ffff, 0x00cff3000000ffff			; UCODE, UDATA
	times 4 dq 0x0000890000000067					; FAULT_*
gdtr:	dw gdtr - gdt - 1
	dd gdt
idtr:	dw 0x43 * 8 - 1
	dd idt
	align 8
small_tss:
	times 7 dw 0
	dw 0, 2
	dw 0x1122, 0, 0, 0, 0x100, 0, 0, 0
	dw DATA, CODE16, STACK16, DATA, 0
	align 4
sub_pointer:
	dd 0
	dw SUB

	section .bss
	alignb 4096
page_dir:
	resb 4096
sub_page_dir:
	resb 4096
idt:	resb 0x43 * 8
small_stack:
	resb 0x200
resume:	resd 1
fault_vector:
	resd 1
fault_error:
	resd 1
fault_eip:
	resd 1
sub_resume:
	resd 1
int_missing:	; by how many bytes the EIP of an INT n falls short
	resd 1
sub_runs:
	resd 1
sub_jumps:
	resd 1
bad_runs:
	resd 1
window_seen:
	resd 1
small_eax:
	resd 1
small_fs:
	resd 1
small_tr:
	resd 1
user_cs:
	resd 1
traps:	resd 1
trap_eip:
	resd 1
trap_dr6:
	resd 1

	section .text
	ROUTINES
