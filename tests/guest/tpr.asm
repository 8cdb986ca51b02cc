; CR8, the task priority as 64-bit code has it: what it holds back and lets in, with the local APIC's
; register beside it, and many changes of it that mean nothing to anybody else.
%include "guest.inc"
%include "lib/long.inc"

%define APIC		0xfee00000
%define REG_TPR		0x80
%define REG_PPR		0xa0
%define REG_EOI		0xb0
%define REG_IRR		0x200
%define REG_ICR		0x300
%define TO_SELF		0x40000
%define CHANGES		1000

	GUEST
	FLAT_SEGMENTS
	cld
	call make_idt
	mov dword [pml4], pdpt + 3
	mov dword [pdpt], low + 3
	mov dword [pdpt + 3 * 8], high + 3
	mov dword [low], 0x83			; the first 2 MiB
	mov dword [high + 0x1f7 * 8], 0xfee00093	; uncached
	mov dword [high + 0x1f7 * 8 + 4], 0
	mov esi, cr4
	or esi, 1 << 5
	mov edi, cr0
	or edi, 1 << 31
	LONG_MODE esi, pml4, EFER_LME, edi
	jmp 24:in_long

; --- 64-bit code ---

	bits 64

; EXPECT64 register of 32 bits, value
%macro EXPECT64 2
	cmp %1, %2
	je %%good
	mov eax, %1
	mov ebx, %2
	mov ecx, __?LINE?__
	jmp far dword [to_wrong]
%%good:
%endmacro

%macro SET_CR8 1
	mov eax, %1
	mov cr8, rax
%endmacro

; CR8_IS value: what both registers say.
%macro CR8_IS 1
	mov rax, cr8
	EXPECT64 eax, %1
	mov eax, [r15 + REG_TPR]
	EXPECT64 eax, (%1) << 4
%endmacro

%macro SEND 1
	mov dword [r15 + REG_ICR], TO_SELF | %1
%endmacro

; TOOK n, vector: so many interrupts since the last TOOK, that one last. n 0: none.
%macro TOOK 2
	mov eax, [count]
	mov dword [count], 0
	EXPECT64 eax, %1
%if %1
	mov eax, [last]
	EXPECT64 eax, %2
%endif
%endmacro

in_long:
	mov r15d, APIC
	CR8_IS 0
	mov ebx, 15
.each:
	mov cr8, rbx
	mov rax, cr8
	EXPECT64 eax, ebx
	dec ebx
	jns .each
	CR8_IS 0
	SET_CR8 13
	CR8_IS 13
	mov dword [r15 + REG_TPR], 0x35
	mov rax, cr8
	EXPECT64 eax, 3
	mov eax, [r15 + REG_TPR]
	EXPECT64 eax, 0x35

	; Held back by as much, let in by one less; at once, if interrupts are on.
	SET_CR8 4
	SEND 0x41
	LET_IN
	TOOK 0, 0
	sti
	SET_CR8 3
	nop
	cli
	TOOK 1, 0x41
	CR8_IS 3

	; A higher one passes the one that waits; both ends of the range.
	SET_CR8 15
	SEND 0x61
	SEND 0xa2
	SEND 0xf3
	LET_IN
	TOOK 0, 0
	SET_CR8 9
	LET_IN
	TOOK 2, 0xa2
	SET_CR8 7
	LET_IN
	TOOK 0, 0
	mov eax, [r15 + REG_IRR + 0x30]
	EXPECT64 eax, 1 << 1
	SET_CR8 0
	LET_IN
	TOOK 1, 0x61

	; It would be taken, but interrupts are off; then CR8 keeps it out.
	SEND 0x91
	nop
	SET_CR8 12
	LET_IN
	TOOK 0, 0
	mov eax, [r15 + REG_PPR]
	EXPECT64 eax, 0xc0
	SET_CR8 8
	LET_IN
	TOOK 1, 0x91

	; The local APIC's register lets in what CR8 has kept out.
	SET_CR8 11
	SEND 0xb1
	LET_IN
	TOOK 0, 0
	sti
	mov dword [r15 + REG_TPR], 0xa0
	nop
	cli
	TOOK 1, 0xb1
	CR8_IS 10

	; Nobody waits, and then somebody who goes on waiting.
	call change
	SET_CR8 2
	SEND 0x22
	call change
	TOOK 0, 0
	SET_CR8 0
	LET_IN
	TOOK 1, 0x22
	jmp far dword [to_done]

; Up and down between 3 and 9.
change:
	sti
	mov ecx, CHANGES
.next:
	SET_CR8 9
	SET_CR8 3
	mov rdx, cr8
	EXPECT64 edx, 3
	dec ecx
	jnz .next
	cli
	ret

	VECTORS interrupt

interrupt:
	cmp dword [rsp], 32
	jb unexpected
	push rax
	mov eax, [rsp + 8]
	mov [last], eax
	inc dword [count]
	mov dword [r15 + REG_EOI], 0
	pop rax
	add rsp, 8
	iretq

unexpected:
	pop rax
	mov ebx, 0
	mov ecx, __?LINE?__
	jmp far dword [to_wrong]

	bits 32

	MAKE_IDT 24, 16

done:
	SAY "CR8 is right"
	EXIT EXIT_OK

	ROUTINES

	section .data
	align 8
gdt:	dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff
gdtr:	dw 31
	dd gdt
	dw 0
idtr:	dw 256 * 16 - 1
	dd idt
to_wrong:
	dd wrong
	dw 8
to_done:
	dd done
	dw 8

	section .bss
	align 4096
pml4:	resb 4096
pdpt:	resb 4096
low:	resb 4096
high:	resb 4096
idt:	resb 256 * 16
count:	resd 1
last:	resd 1
