; Interrupts wait for IF, whoever sends them: behind CLI, and in a handler that has ended its own already. A second
; processor interrupts the first one all the time.
%include "guest.inc"

APIC		equ 0xfee00000
APIC_EOI	equ APIC + 0xb0
APIC_SVR	equ APIC + 0xf0
APIC_ICR	equ APIC + 0x300
APIC_ICR_HIGH	equ APIC + 0x310
ICR_INIT	equ 0x4500
ICR_STARTUP	equ 0x4600
TO_SELF		equ 0x40000
VEC_LOW		equ 0x41
VEC_HIGH	equ 0x51
VEC_OTHER	equ 0x61
TRAMPOLINE	equ 0x8000
ROUNDS		equ 200
OTHERS		equ 20		; at least so many are to come meanwhile
LINGER		equ 20000	; turns of a loop with IF clear
BETWEEN		equ 5000	; and between two of the second processor's

	GUEST
	FLAT_SEGMENTS
	call make_idt
	mov dword [APIC_SVR], 0x1ff
	mov esi, trampoline
	mov edi, TRAMPOLINE
	mov ecx, trampoline_end - trampoline
	rep movsb
	mov dword [APIC_ICR_HIGH], 1 << 24
	mov dword [APIC_ICR], ICR_INIT
	mov dword [APIC_ICR], ICR_STARTUP | TRAMPOLINE >> 12
	mov dword [APIC_ICR], ICR_STARTUP | TRAMPOLINE >> 12

	mov ebx, ROUNDS
.round:
	LET_IN
	mov dword [APIC_ICR], TO_SELF | VEC_LOW
	mov dword [APIC_ICR], TO_SELF | VEC_HIGH
	call linger
	LET_IN
	mov eax, ROUNDS + 1
	sub eax, ebx
	mov ecx, [taken + 4 * VEC_LOW]
	EXPECT ecx, eax
	mov ecx, [taken + 4 * VEC_HIGH]
	EXPECT ecx, eax
	dec ebx
	jnz .round
.others:
	LET_IN
	pause
	cmp dword [taken + 4 * VEC_OTHER], OTHERS
	jb .others
	SAY "interrupts have waited"
	EXIT EXIT_OK

linger:
	push ecx
	mov ecx, LINGER
.more:
	dec ecx
	jnz .more
	pop ecx
	ret

; The first processor's.
interrupt:
	cmp dword [esp], 32
	jb unexpected
	test dword [esp + 12], 1 << 9	; EFLAGS, behind vector, EIP and CS
	jz early
	push eax
	mov eax, [esp + 4]
	inc dword [taken + 4 * eax]
	mov dword [APIC_EOI], 0
	cmp eax, VEC_HIGH
	jne .end
	call linger		; the lower one waits for IF alone
.end:
	pop eax
	add esp, 4
	iret

early:
	SAY_START "came with IF clear: "
unexpected:
	pop eax
	mov ebx, 0
	mov ecx, __?LINE?__
	jmp wrong

; The second one sends another soon after the one before has come.
other:
	mov eax, 16
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov dword [APIC_SVR], 0x1ff
	mov dword [APIC_ICR_HIGH], 0
.send:
	mov eax, [taken + 4 * VEC_OTHER]
	mov dword [APIC_ICR], VEC_OTHER
.wait:
	pause
	cmp eax, [taken + 4 * VEC_OTHER]
	je .wait
	mov ecx, BETWEEN
.more:
	dec ecx
	jnz .more
	jmp .send

	VECTORS interrupt
	MAKE_IDT 8, 8
	ROUTINES

	section .data
	STARTUP_CODE 8, other

	FLAT_GDT
idtr:	dw 256 * 8 - 1
	dd idt

	section .bss
	align 4096
idt:	resb 256 * 8
taken:	resd 256
