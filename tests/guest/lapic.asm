; The local APIC as its processor sees it: registers, interrupts to itself, priorities, the
; three kinds of timer, the 8259 through LINT0, NMI, errors, moved, off and as x2APIC.
%include "guest.inc"

%define APIC		0xfee00000
%define REG_ID		0x20
%define REG_VERSION	0x30
%define REG_TPR		0x80
%define REG_PPR		0xa0
%define REG_EOI		0xb0
%define REG_LDR		0xd0
%define REG_SVR		0xf0
%define REG_ISR		0x100
%define REG_IRR		0x200
%define REG_ESR		0x280
%define REG_ICR		0x300
%define REG_ICR_HIGH	0x310
%define REG_TIMER	0x320
%define REG_LINT0	0x350
%define REG_ERROR	0x370
%define REG_INITIAL	0x380
%define REG_CURRENT	0x390
%define REG_DIVIDE	0x3e0

%define TO_SELF		0x40000
%define MASKED		0x10000
%define MS		25000	; of the timer's counts
%define MSR_BASE	0x1b
%define MSR_DEADLINE	0x6e0
%define MSR_X2APIC	0x800

; APIC_IS register, value: what it reads.
%macro APIC_IS 2
	mov eax, [APIC + %1]
	EXPECT eax, %2
%endmacro

%macro RDMSR 1
	mov ecx, %1
	rdmsr
%endmacro

%macro WRMSR 2-3 0	; number, low, high
	mov ecx, %1
	mov eax, %2
	mov edx, %3
	wrmsr
%endmacro

; REFUSED: the last RDMSR or WRMSR was #GP; ALLOWED: it was not.
%macro REFUSED 0
	mov eax, [faults]
	mov dword [faults], 0
	EXPECT eax, 1
%endmacro

%macro ALLOWED 0
	mov eax, [faults]
	EXPECT eax, 0
%endmacro

; TOOK n, vector: so many interrupts since the last TOOK, that one last. n 0: none.
%macro TOOK 2
	mov eax, [count]
	mov dword [count], 0
	EXPECT eax, %1
%if %1
	mov eax, [last]
	EXPECT eax, %2
%endif
%endmacro

; WAIT_ONE: halt until an interrupt comes.
%macro WAIT_ONE 0
	sti
	hlt
	cli
%endmacro

	GUEST
	FLAT_SEGMENTS
	call make_idt
	cld

	mov eax, 1
	cpuid
	and edx, 1 << 9
	EXPECT edx, 1 << 9
	and ecx, (1 << 21) | (1 << 24)
	EXPECT ecx, (1 << 21) | (1 << 24)
	shr ebx, 24
	EXPECT ebx, 0
	RDMSR MSR_BASE
	EXPECT eax, APIC | 0x900

	APIC_IS REG_ID, 0
	APIC_IS REG_VERSION, 0x01050014
	APIC_IS REG_SVR, 0x1ff
	APIC_IS REG_LINT0, 0x700
	mov dword [APIC + REG_VERSION], 0
	APIC_IS REG_VERSION, 0x01050014
	movzx eax, byte [APIC + REG_VERSION]
	EXPECT eax, 0x14
	or dword [APIC + REG_LDR], 0xff000000
	APIC_IS REG_LDR, 0xff000000
	SAY "registers"

	; To itself, one after the other by priority.
	mov dword [APIC + REG_ICR], TO_SELF | 0x41
	mov dword [APIC + REG_ICR], TO_SELF | 0x93
	mov dword [APIC + REG_ICR], TO_SELF | 0x52
	APIC_IS REG_IRR + 0x20, 1 << 1 | 1 << 18
	APIC_IS REG_IRR + 0x40, 1 << 19
	mov dword [APIC + REG_TPR], 0x90
	LET_IN
	TOOK 0, 0
	mov dword [APIC + REG_TPR], 0x50
	LET_IN
	TOOK 1, 0x93
	mov eax, [in_service]
	EXPECT eax, 1 << 19	; of vectors 80 to 9f, while it was handled
	mov dword [APIC + REG_TPR], 0
	LET_IN
	TOOK 2, 0x41
	APIC_IS REG_PPR, 0
	; By its id, its logical id, to all; not to the others.
	mov dword [APIC + REG_ICR_HIGH], 0
	mov dword [APIC + REG_ICR], 0x61
	LET_IN
	TOOK 1, 0x61
	mov dword [APIC + REG_ICR_HIGH], 0x01000000
	mov dword [APIC + REG_ICR], 0x962	; lowest priority
	LET_IN
	TOOK 1, 0x62
	mov dword [APIC + REG_ICR], 0x80063
	LET_IN
	TOOK 1, 0x63
	mov dword [APIC + REG_ICR], 0xc0064
	mov dword [APIC + REG_ICR], 0x65	; there is no number 1
	LET_IN
	TOOK 0, 0
	SAY "interrupts to itself"

	; One that ends a HLT, and an NMI.
	mov dword [APIC + REG_ICR_HIGH], 0
	mov dword [APIC + REG_ICR], 0x400
	mov eax, [nmis]
	EXPECT eax, 1
	mov dword [APIC + REG_ICR], 0x600	; STARTUP: not waited for
	SAY "NMI"

	; Errors.
	mov dword [APIC + REG_ERROR], 0xe0
	mov dword [APIC + REG_ICR], TO_SELF | 3
	LET_IN
	TOOK 1, 0xe0
	APIC_IS REG_ESR, 0
	mov dword [APIC + REG_ESR], 0
	APIC_IS REG_ESR, 0x20
	mov eax, [APIC + 0x3c0]
	mov dword [APIC + REG_ESR], 0
	APIC_IS REG_ESR, 0x80
	LET_IN
	TOOK 1, 0xe0
	mov dword [APIC + REG_ERROR], MASKED
	SAY "errors"

	; The timer: a millisecond or so, each.
	mov dword [APIC + REG_DIVIDE], 0xb
	mov dword [APIC + REG_TIMER], 0x70
	mov dword [APIC + REG_INITIAL], MS
	WAIT_ONE
	TOOK 1, 0x70
	APIC_IS REG_CURRENT, 0
	mov dword [APIC + REG_TIMER], 0x20071
	mov dword [APIC + REG_INITIAL], 2 * MS
	WAIT_ONE
	WAIT_ONE
	WAIT_ONE
	cmp dword [count], 3
	setae al
	movzx eax, al
	EXPECT eax, 1
	mov eax, [last]
	EXPECT eax, 0x71
	mov dword [APIC + REG_TIMER], 0x20071 | MASKED
	LET_IN
	mov dword [count], 0
	mov eax, [APIC + REG_CURRENT]
.runs:
	cmp eax, [APIC + REG_CURRENT]
	je .runs
	mov dword [APIC + REG_INITIAL], 0
	APIC_IS REG_CURRENT, 0
	mov dword [APIC + REG_TIMER], 0x40072
	RDMSR MSR_DEADLINE
	EXPECT eax, 0
	rdtsc
	add eax, 1000000
	adc edx, 0
	mov ecx, MSR_DEADLINE
	wrmsr
	WAIT_ONE
	TOOK 1, 0x72
	RDMSR MSR_DEADLINE
	EXPECT eax, 0
	WRMSR MSR_DEADLINE, 1		; long past
	LET_IN
	TOOK 1, 0x72
	mov dword [APIC + REG_TIMER], MASKED
	SAY "timer"

	; The 8254, by the 8259 and LINT0.
	call make_pic
	call start_pit
	WAIT_ONE
	TOOK 1, 0x20
	call end_pic
	mov dword [APIC + REG_LINT0], 0x10700
	call start_pit
	call long_wait
	LET_IN
	TOOK 0, 0
	mov dword [APIC + REG_LINT0], 0x700
	LET_IN
	TOOK 1, 0x20
	call end_pic
	SAY "8259"

	; Off: there is none, and the 8259 is the processor's own.
	WRMSR MSR_BASE, APIC | 0x100
	ALLOWED
	mov eax, 1
	cpuid
	and edx, 1 << 9
	EXPECT edx, 0
	APIC_IS REG_VERSION, 0xffffffff
	call start_pit
	mov byte [no_eoi], 1
	WAIT_ONE
	mov byte [no_eoi], 0
	TOOK 1, 0x20
	call end_pic
	WRMSR MSR_BASE, APIC | 0xd00
	REFUSED
	WRMSR MSR_BASE, APIC | 0x500
	REFUSED
	WRMSR MSR_BASE, APIC | 0xa00
	REFUSED
	WRMSR MSR_BASE, APIC | 0x900
	ALLOWED
	APIC_IS REG_VERSION, 0x01050014
	APIC_IS REG_SVR, 0xff
	mov dword [APIC + REG_SVR], 0x1ff
	SAY "off and on"

	; Moved over memory, which comes back.
	mov dword [0x300030], 0x12345678
	WRMSR MSR_BASE, 0x300900
	ALLOWED
	mov eax, [0x300030]
	EXPECT eax, 0x01050014
	APIC_IS REG_VERSION, 0xffffffff
	mov dword [0x300000 + REG_ICR], TO_SELF | 0x45
	mov eax, [0x300000 + REG_IRR + 0x20]
	EXPECT eax, 1 << 5
	WRMSR MSR_BASE, APIC | 0x900
	mov eax, [0x300030]
	EXPECT eax, 0x12345678
	LET_IN
	TOOK 1, 0x45
	SAY "moved"

	; x2APIC.
	RDMSR MSR_X2APIC + 2
	REFUSED
	WRMSR MSR_BASE, APIC | 0xd00
	ALLOWED
	APIC_IS REG_VERSION, 0xffffffff
	mov byte [x2apic], 1
	RDMSR MSR_X2APIC + 2
	EXPECT eax, 0
	RDMSR MSR_X2APIC + 0xd
	EXPECT eax, 1
	WRMSR MSR_X2APIC + 0xd, 1
	REFUSED
	RDMSR MSR_X2APIC + 9
	REFUSED
	RDMSR MSR_X2APIC + 0x31
	REFUSED
	WRMSR MSR_X2APIC + 8, 0x100
	REFUSED
	WRMSR MSR_X2APIC + 0xb, 1
	REFUSED
	WRMSR MSR_X2APIC + 0x3f, 0x81
	ALLOWED
	LET_IN
	TOOK 1, 0x81
	WRMSR MSR_X2APIC + 0x30, 0x82, 0
	LET_IN
	TOOK 1, 0x82
	WRMSR MSR_X2APIC + 0x30, 0x83, 0xffffffff
	LET_IN
	TOOK 1, 0x83
	WRMSR MSR_X2APIC + 0x30, 0x884, 1
	LET_IN
	TOOK 1, 0x84
	WRMSR MSR_X2APIC + 0x30, 0x85, 0xff	; no longer all
	LET_IN
	TOOK 0, 0
	WRMSR MSR_X2APIC + 0x32, 0x70
	WRMSR MSR_X2APIC + 0x3e, 0xb
	WRMSR MSR_X2APIC + 0x38, MS / 2
	WAIT_ONE
	TOOK 1, 0x70
	WRMSR MSR_BASE, APIC | 0x900
	REFUSED
	WRMSR MSR_BASE, APIC | 0x100
	WRMSR MSR_BASE, APIC | 0x900
	ALLOWED
	mov byte [x2apic], 0
	APIC_IS REG_VERSION, 0x01050014
	SAY "x2APIC"
	SAY "the local APIC is right"
	EXIT EXIT_OK

; --- interrupts ---

	VECTORS interrupt

interrupt:
	cmp dword [esp], 2
	je nmi
	cmp dword [esp], 13
	je general_protection
	cmp dword [esp], 32
	jb unexpected
	push eax
	push ecx
	push edx
	mov eax, [esp + 12]
	mov [last], eax
	inc dword [count]
	cmp eax, 0x20
	je .done		; the 8259's
	cmp byte [no_eoi], 0
	jne .done
	cmp byte [x2apic], 0
	jne .x2apic
	shr eax, 5
	shl eax, 4
	mov eax, [APIC + REG_ISR + eax]
	mov [in_service], eax
	mov dword [APIC + REG_EOI], 0
	jmp .done
.x2apic:
	WRMSR MSR_X2APIC + 0xb, 0
.done:
	pop edx
	pop ecx
	pop eax
	add esp, 4
	iret

nmi:
	inc dword [nmis]
	add esp, 4
	iret

; RDMSR or WRMSR: two bytes; eip lies above the vector and the error code.
general_protection:
	inc dword [faults]
	add dword [esp + 8], 2
	add esp, 8
	iret

unexpected:
	pop eax
	mov ebx, 0
	mov ecx, __?LINE?__
	jmp wrong

	MAKE_IDT 8, 8

; --- the 8259s, and the 8254's channel 0 once ---

make_pic:
	PIC 0x20
	mov al, 0xff
	out 0xa1, al
	ret

start_pit:
	mov al, 0x30
	out 0x43, al
	mov al, 0x00
	out 0x40, al
	mov al, 0x08
	out 0x40, al
	ret

end_pic:
	mov al, 0x20
	out 0x20, al
	ret

; Until channel 0 must have fired: port 61's refresh bit changes each 15 us.
long_wait:
	mov ecx, 1000
	in al, 0x61
	mov ah, al
.change:
	in al, 0x61
	xor al, ah
	test al, 0x10
	jz .change
	xor ah, 0x10
	loop .change
	ret

	ROUTINES

	section .data
	FLAT_GDT
idtr:	dw 256 * 8 - 1
	dd idt

	section .bss
	alignb 8
idt:	resb 256 * 8
count:	resd 1
last:	resd 1
in_service: resd 1
nmis:	resd 1
faults:	resd 1
x2apic:	resb 1
no_eoi:	resb 1
