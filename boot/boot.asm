; From GRUB's 32-bit protected mode to umbra_main() in long mode.
;
; The image may have been loaded at any 2 MiB boundary, so the 32-bit code finds its
; own address first and keeps it in EBP. Physical address of a symbol: [ebp + OFF(sym)].

%include "boot/long_mode.inc"

%define IMAGE_BASE	0xffffffff80200000	; linker.ld: image_base
%define LOAD_BASE	0x200000		; linker.ld: load_base
%define OFF(sym)	(sym + 0x7fe00000)	; sym - IMAGE_BASE, modulo 2^64
%define BOOT_STACK_BYTES (0x1000 + 0x8000)	; image.h: sizeof(struct main_stack)

%define MB2_MAGIC	0xe85250d6
%define MB2_BOOT_MAGIC	0x36d76289
%define MB2_TAG_FRAMEBUFFER 8
%define MB2_TAG_EFI32	11
%define MB2_TAG_EFI64	12
%define FRAMEBUFFER_EGA_TEXT 2

%define PTE_P_RW	0x03
%define PTE_P_RW_PS	0x83
%define IMAGE_PAGES	8	; 2 MiB pages; linker.ld asserts that the image fits

%define COM1		0x3f8
%define VGA_TEXT	0xb8000

extern umbra_main, boot_cpu, boot_stack, image_load_base, __stack_chk_guard

; Multiboot2 header. Multiboot2 specification, 3.1.
section .multiboot2 progbits alloc noexec nowrite align=8
header:
	dd MB2_MAGIC, 0, header.end - header
	dd 0x100000000 - (MB2_MAGIC + (header.end - header))
	align 8, db 0
	dw 1, 0			; information request: memory map
	dd 12, 6
	align 8, db 0
	dw 3, 0			; entry address
	dd 12, OFF(boot_entry) + LOAD_BASE
	align 8, db 0
	dw 4, 1			; console flags, optional: EGA text is fine
	dd 12, 2
	align 8, db 0
	dw 6, 0			; modules on page boundaries
	dd 8
	align 8, db 0
	dw 10, 0		; relocatable: lowest, highest, alignment, prefer lowest
	dd 24, LOAD_BASE, 0xf0000000, 0x200000, 1
	align 8, db 0
	dw 0, 0
	dd 8
.end:

section .boot progbits alloc exec nowrite align=16
bits 32

global boot_entry
boot_entry:
	cli
	cld
	cmp	eax, MB2_BOOT_MAGIC
	jne	.not_multiboot2

	; The reserved word of the boot information serves as a stack for one call.
	lea	esp, [ebx + 8]
	call	.here
.here:
	pop	ebp
	sub	ebp, OFF(.here)
	mov	dword [ebx + 4], 0
	lea	esp, [ebp + OFF(boot_stack) + BOOT_STACK_BYTES]

	call	check_cpu
	call	build_tables

	mov	eax, CR4_BITS
	mov	cr4, eax
	lea	eax, [ebp + OFF(boot_pml4)]
	mov	cr3, eax
	mov	ecx, MSR_EFER		; whole: no bit of the firmware's stays
	mov	eax, EFER_LME_NXE
	xor	edx, edx
	wrmsr
	mov	eax, CR0_BITS
	mov	cr0, eax

	lea	eax, [ebp + OFF(boot_gdt)]
	mov	[ebp + OFF(boot_gdtr.base)], eax
	lgdt	[ebp + OFF(boot_gdtr)]
	lea	eax, [ebp + OFF(long_mode)]
	push	dword 0x08
	push	eax
	retf

.not_multiboot2:
	; No boot information, so any free low memory is the stack for one call.
	mov	esp, 0x7000
	call	.there
.there:
	pop	ebp
	sub	ebp, OFF(.there)
	lea	esp, [ebp + OFF(boot_stack) + BOOT_STACK_BYTES]
	xor	ebx, ebx
	lea	esi, [ebp + OFF(msg_loader)]
	jmp	boot_fail

; Go on only with CPUID, long mode and NX. EBX is kept.
check_cpu:
	pushfd
	pop	eax
	mov	ecx, eax
	xor	eax, 1 << 21		; EFLAGS.ID
	push	eax
	popfd
	pushfd
	pop	eax
	push	ecx
	popfd
	xor	eax, ecx
	lea	esi, [ebp + OFF(msg_cpuid)]
	test	eax, 1 << 21
	jz	boot_fail

	push	ebx
	lea	esi, [ebp + OFF(msg_long_mode)]
	xor	edx, edx
	mov	eax, 0x80000000
	cpuid
	cmp	eax, 0x80000001
	mov	edx, 0
	jb	.have_edx
	mov	eax, 0x80000001
	cpuid
.have_edx:
	pop	ebx
	test	edx, 1 << 29		; LM
	jz	boot_fail
	lea	esi, [ebp + OFF(msg_nx)]
	test	edx, 1 << 20		; NX
	jz	boot_fail
	ret

; First 4 GiB at 0 and at 0xffff800000000000, the image at IMAGE_BASE. The tables
; are in .bss: zero.
build_tables:
	lea	eax, [ebp + OFF(boot_pdpt_low) + PTE_P_RW]
	mov	[ebp + OFF(boot_pml4)], eax
	mov	[ebp + OFF(boot_pml4) + 256 * 8], eax
	lea	eax, [ebp + OFF(boot_pdpt_image) + PTE_P_RW]
	mov	[ebp + OFF(boot_pml4) + 511 * 8], eax
	lea	eax, [ebp + OFF(boot_pd_image) + PTE_P_RW]
	mov	[ebp + OFF(boot_pdpt_image) + 510 * 8], eax

	lea	eax, [ebp + OFF(boot_pd_low) + PTE_P_RW]
	xor	ecx, ecx
.pdpt:
	mov	[ebp + OFF(boot_pdpt_low) + ecx * 8], eax
	add	eax, 0x1000
	inc	ecx
	cmp	ecx, 4
	jb	.pdpt

	mov	eax, PTE_P_RW_PS
	xor	ecx, ecx
.low:
	mov	[ebp + OFF(boot_pd_low) + ecx * 8], eax
	add	eax, 0x200000
	inc	ecx
	cmp	ecx, 4 * 512
	jb	.low

	lea	eax, [ebp + PTE_P_RW_PS]
	xor	ecx, ecx
.image:
	mov	[ebp + OFF(boot_pd_image) + 8 + ecx * 8], eax
	add	eax, 0x200000
	inc	ecx
	cmp	ecx, IMAGE_PAGES
	jb	.image
	ret

; Print "umbra: cannot start: " and the text at ESI on COM1 and on the text screen,
; as far as they are there, and halt. EBX: boot information or 0.
boot_fail:
	push	esi
	lea	esi, [ebp + OFF(msg_prefix)]
	call	serial_init
	call	serial_print
	mov	esi, [esp]
	call	serial_print
	lea	esi, [ebp + OFF(msg_newline)]
	call	serial_print

	call	vga_present
	jne	.halt
	mov	edi, VGA_TEXT
	mov	eax, 0x07200720
	mov	ecx, 80 * 25 / 2
	rep	stosd
	mov	edi, VGA_TEXT
	lea	esi, [ebp + OFF(msg_prefix)]
	call	vga_print
	pop	esi
	call	vga_print
.halt:
	cli
	hlt
	jmp	.halt

; COM1 to 115200 8N1 if its scratch register is there. EDI: 1 if it is, else 0.
serial_init:
	xor	edi, edi
	mov	dx, COM1 + 7
	mov	al, 0x5a
	out	dx, al
	in	al, dx
	cmp	al, 0x5a
	jne	.done
	inc	edi
	mov	dx, COM1 + 1
	xor	al, al
	out	dx, al
	mov	dx, COM1 + 3
	mov	al, 0x83
	out	dx, al
	mov	dx, COM1
	mov	al, 1
	out	dx, al
	inc	dx
	xor	al, al
	out	dx, al
	mov	dx, COM1 + 3
	mov	al, 0x03
	out	dx, al
	inc	dx
	out	dx, al
.done:
	ret

; Send the text at ESI; each byte waits for the transmitter a bounded time only.
serial_print:
	test	edi, edi
	jz	.done
	lodsb
	test	al, al
	jz	.done
	mov	ah, al
	mov	ecx, 100000
	mov	dx, COM1 + 5
.wait:
	in	al, dx
	test	al, 0x20
	jnz	.send
	loop	.wait
.send:
	mov	dx, COM1
	mov	al, ah
	out	dx, al
	jmp	serial_print
.done:
	ret

; ZF: there is a text screen, as far as one can tell from the boot information.
vga_present:
	test	ebx, ebx
	jz	.done
	mov	edx, [ebx]		; total size
	add	edx, ebx
	lea	ecx, [ebx + 8]
.tag:
	lea	eax, [ecx + 8]
	cmp	eax, edx
	ja	.yes
	mov	eax, [ecx]
	cmp	eax, MB2_TAG_EFI32
	je	.no
	cmp	eax, MB2_TAG_EFI64
	je	.no
	cmp	eax, MB2_TAG_FRAMEBUFFER
	jne	.next
	cmp	byte [ecx + 29], FRAMEBUFFER_EGA_TEXT
	ret
.next:
	mov	eax, [ecx + 4]		; size, padded to 8
	add	eax, 7
	and	eax, ~7
	jz	.yes
	add	ecx, eax
	jc	.yes
	jmp	.tag
.no:
	or	eax, 1
	ret
.yes:
	xor	eax, eax
.done:
	ret

; Put the text at ESI on the screen at EDI.
vga_print:
	mov	ah, 0x07
.next:
	lodsb
	test	al, al
	jz	.done
	stosw
	jmp	.next
.done:
	ret

bits 64
long_mode:
	mov	rax, qword .high
	jmp	rax
.high:
	mov	eax, 0x10
	mov	ds, eax
	mov	es, eax
	mov	ss, eax
	xor	eax, eax
	mov	fs, eax
	mov	gs, eax
	mov	rsp, qword boot_stack + BOOT_STACK_BYTES

	mov	rdx, qword boot_cpu
	mov	eax, edx
	shr	rdx, 32
	mov	ecx, MSR_GS_BASE
	wrmsr

	; The stack protector's value: not to be guessed, and with a zero byte that ends
	; a copied string.
	rdtsc
	shl	rdx, 32
	or	rax, rdx
	mov	rcx, qword 0x9e3779b97f4a7c15
	mul	rcx
	xor	rax, rdx
	mov	al, 0
	mov	rcx, qword __stack_chk_guard
	mov	[rcx], rax

	mov	esi, ebp
	mov	rcx, qword image_load_base
	mov	[rcx], rsi
	mov	edi, ebx
	xor	ebp, ebp		; the end of every backtrace
	push	rbp
	jmp	umbra_main

section .rodata progbits alloc noexec nowrite align=8
msg_prefix	db "umbra: cannot start: ", 0
msg_newline	db 13, 10, 0
msg_loader	db "not loaded by a multiboot2 boot loader (use GRUB's multiboot2 command)", 0
msg_cpuid	db "the processor has no CPUID instruction", 0
msg_long_mode	db "the processor has no 64-bit long mode", 0
msg_nx		db "the processor has no NX (no-execute) pages, or the firmware has disabled them", 0

section .data progbits alloc noexec write align=8
boot_gdt:
	dq 0
	dq 0x00af9b000000ffff		; code, 64-bit
	dq 0x00cf93000000ffff		; data
boot_gdtr:
	dw $ - boot_gdt - 1
.base:	dd 0, 0

section .bss nobits alloc noexec write align=4096
alignb 4096
boot_pml4:	resb 4096
boot_pdpt_low:	resb 4096
boot_pdpt_image: resb 4096
boot_pd_image:	resb 4096
boot_pd_low:	resb 4 * 4096

section .note.GNU-stack noalloc noexec nowrite progbits
