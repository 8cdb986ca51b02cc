; Another processor's way from its STARTUP interrupt to ap_main(). boot/ap.c copies ap_page to a
; page below 1 MiB, fills in struct ap_page (boot/ap.c) and starts one processor at a time there.

%include "boot/long_mode.inc"

%define CPU_STACK_TOP	8	; struct cpu

extern ap_main, ap_cr3

section .rodata progbits alloc noexec nowrite align=16
bits 16

global ap_page, ap_page_end
ap_page:
	jmp	short start
	times 8 - ($ - ap_page) db 0
cr3_start	dd 0		; tables that hold this page at its own address too
ticket		dd 0		; 1: for the one that takes it
cpu_ptr		dq 0		; its struct cpu
entry		dq 0		; ap_entry
protected_ptr	dd in_protected_mode - ap_page	; the page's address is added to these three
		dw 0x08, 0
long_ptr	dd in_long_mode - ap_page
		dw 0x18, 0
gdtr		dw gdt_end - gdt - 1
		dd gdt - ap_page
		dw 0
gdt		dq 0
		dq 0x00cf9b000000ffff	; code, 32-bit
		dq 0x00cf93000000ffff	; data
		dq 0x00af9b000000ffff	; code, 64-bit
gdt_end:

start:
	cli
	cld
	mov	ax, cs
	mov	ds, ax
	xor	ebx, ebx
	mov	bx, ax
	shl	ebx, 4			; the page's address
	o32 lgdt [gdtr - ap_page]
	mov	eax, 1 << 4 | 1		; ET PE: caches on too
	mov	cr0, eax
	jmp	dword far [protected_ptr - ap_page]

bits 32
in_protected_mode:
	mov	eax, 0x10
	mov	ds, eax
	mov	es, eax
	mov	ss, eax
	; One that comes so late that it is no longer waited for has no ticket.
	xor	eax, eax
	xchg	[ebx + ticket - ap_page], eax
	test	eax, eax
	jz	halt
	mov	eax, CR4_BITS
	mov	cr4, eax
	mov	eax, [ebx + cr3_start - ap_page]
	mov	cr3, eax
	mov	ecx, MSR_EFER
	mov	eax, EFER_LME_NXE
	xor	edx, edx
	wrmsr
	mov	eax, CR0_BITS
	mov	cr0, eax
	jmp	far [ebx + long_ptr - ap_page]
halt:
	cli
	hlt
	jmp	halt

bits 64
in_long_mode:
	mov	rdi, [rbx + cpu_ptr - ap_page]
	jmp	[rbx + entry - ap_page]
ap_page_end:

section .text progbits alloc exec nowrite align=16

; The struct cpu is at RDI. From here on nothing of the low page is used.
global ap_entry
ap_entry:
	xor	eax, eax
	mov	ss, eax
	mov	ds, eax
	mov	es, eax
	mov	fs, eax
	mov	gs, eax
	mov	rax, qword ap_cr3
	mov	rax, [rax]
	mov	cr3, rax
	mov	rsp, [rdi + CPU_STACK_TOP]
	mov	eax, edi
	mov	rdx, rdi
	shr	rdx, 32
	mov	ecx, MSR_GS_BASE
	wrmsr
	xor	ebp, ebp		; the end of every backtrace
	push	rbp
	jmp	ap_main

section .note.GNU-stack noalloc noexec nowrite progbits
