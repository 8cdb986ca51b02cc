; The way of each processor into 64-bit mode, its exceptions and interrupts, and the probes.
%include "guest.inc"
%include "lib/long.inc"

%define CODE64 0x08
%define DATA 0x10
%define CODE32 0x18
%define CR0 0x80010033		; PG, WP, NE, ET, MP, PE
%define CR4 0x6a0		; OSXMMEXCPT, OSFXSR, PGE, PAE
%define EFER_NXE 0x800
%define LOW_CODE 0x8000
%define STACK_SIZE 16384
%define MAX_CPUS 8

	extern guest_main, cpu_main, on_trap

	PVH_NOTE start

	section .text
	bits 32
	global start
start:
	cli
	mov [start_info], ebx
	; 1 GiB as it lies, until spaces_init() has made other tables.
	FLAT_TABLES 1
	lgdt [gdtr]
	jmp CODE32:enter

; A processor in 32-bit mode without paging; the first that comes here is number 0.
enter:
	mov eax, DATA
	mov ds, eax
	mov es, eax
	mov ss, eax
	LONG_MODE CR4, flat_pml4, EFER_NXE | EFER_LME, CR0
	jmp CODE64:.long
	bits 64
.long:
	mov edi, 1
	lock xadd [abs tickets], edi
	cmp edi, MAX_CPUS
	jae .rest
	lea eax, [edi + 1]
	imul eax, STACK_SIZE
	lea rsp, [rax + stacks]
	test edi, edi
	jnz .other
	mov edi, [abs start_info]
	call guest_main
.other:
	call cpu_main
.rest:
	hlt
	jmp .rest

; --- exceptions and interrupts ---

	VECTOR_STUBS 256, on_vector

on_vector:
	push rax
	push rcx
	push rdx
	push rbx
	push rbp
	push rsi
	push rdi
%assign n 8
%rep 8
	push r %+ n
%assign n n + 1
%endrep
	cld
	mov rdi, rsp
	call on_trap
%assign n 15
%rep 8
	pop r %+ n
%assign n n - 1
%endrep
	pop rdi
	pop rsi
	pop rbp
	pop rbx
	pop rdx
	pop rcx
	pop rax
	add rsp, 16
	iretq

; --- accesses that may fault: then on_trap() goes on at probe_ret ---

	global probe_read, probe_read_at, probe_write, probe_write_at, probe_fetch, probe_ret
probe_read:
probe_read_at:
	mov rax, [rdi]
probe_ret:
	ret
probe_write:
probe_write_at:
	mov [rdi], rsi
	ret
probe_fetch:
	jmp rdi			; there is `mov eax, ...; ret`

; --- real mode: what lies at LOW_CODE ---

	section .rodata
	global low_code, low_code_end
low_code:
	bits 16
	cli
	o32 lgdt [cs:low_gdtr - low_code]
	mov eax, 0x11
	mov cr0, eax
	jmp dword CODE32:enter
low_gdtr: dw 31
	dd gdt
low_code_end:

	align 8
	global idt_stubs
idt_stubs:
	VECTOR_TABLE 256, dq

	section .data
	align 8
gdt:	dq 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff
gdtr:	dw 31
	dd gdt
tickets: dd 0

	FLAT_TABLES_BSS 1
stacks:	resb MAX_CPUS * STACK_SIZE
start_info: resd 1
