; The way of each processor into 64-bit mode: the first by PVH, the others by STARTUP.
%include "guest.inc"
%include "lib/long.inc"

%define CODE64 0x08
%define DATA 0x10
%define CODE32 0x18
%define CR0 0x80010033		; PG, WP, NE, ET, MP, PE
%define CR4 0x620		; OSXMMEXCPT, OSFXSR, PAE
%define TRAMPOLINE 0x70000	; latency.h has it too
%define STACK_SIZE 4096		; as well

	extern guest_main, other_main, stacks, idtr

	PVH_NOTE start

	section .text
	bits 32
	global start
start:
	cli
	mov [start_info], ebx
	FLAT_TABLES 4
	mov esi, trampoline
	mov edi, TRAMPOLINE
	mov ecx, trampoline_end - trampoline
	rep movsb
	lgdt [gdtr]
	jmp long_mode

	STARTUP_CODE CODE32, long_mode

long_mode:
	mov eax, DATA
	mov ds, eax
	mov es, eax
	mov ss, eax
	LONG_MODE CR4, flat_pml4, EFER_LME, CR0
	jmp CODE64:.long
	bits 64
.long:
	mov edi, 1
	lock xadd [abs next_number], edi
	lea esp, [edi + 1]
	imul esp, esp, STACK_SIZE
	add esp, stacks
	test edi, edi
	jnz .other
	mov edi, [abs start_info]
	call guest_main
.other:
	lidt [abs idtr]
	call other_main

; Exceptions: nobody expects one.
	VECTOR_STUBS 32, stray
stray:
	pop rdi
	pop rsi
	mov rdx, [rsp]
	and rsp, -16
	extern on_exception
	call on_exception

	section .rodata
	align 8
	global exception_stubs
exception_stubs:
	VECTOR_TABLE 32, dq

	section .data
	align 8
gdt:	dq 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff
gdt_end:
gdtr:	dw gdt_end - gdt - 1
	dd gdt
	dd 0
start_info: dd 0
	global next_number
next_number: dd 0	; of the next processor that comes

	global flat_pdpt
	FLAT_TABLES_BSS 4
