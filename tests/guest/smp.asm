; Several processors, CPUS of them: INIT and STARTUP, locked counting, interrupts and NMIs from one to another, pages
; that move under all of them, and one that is started again.
%include "guest.inc"

%ifndef CPUS
%define CPUS	4
%endif
APIC		equ 0xfee00000
APIC_ID		equ APIC + 0x20
APIC_EOI	equ APIC + 0xb0
APIC_SVR	equ APIC + 0xf0
APIC_ICR	equ APIC + 0x300
APIC_ICR_HIGH	equ APIC + 0x310
ICR_INIT	equ 0x4500
ICR_STARTUP	equ 0x4600
ICR_NMI		equ 0x4400
ICR_OTHERS	equ 0xc4000
VEC_HELLO	equ 0x40
VEC_MOVED	equ 0x41
TRAMPOLINE	equ 0x8000
WINDOW		equ 0x400000
COUNTS		equ 80000 / CPUS
MOVES		equ 400 / CPUS

; SEND processor, command
%macro SEND 2
	mov dword [APIC_ICR_HIGH], (%1) << 24
	mov dword [APIC_ICR], %2
%endmacro

; GATE vector, handler
%macro GATE 2
	mov eax, %2
	mov word [idt + 8 * (%1)], ax
	mov dword [idt + 8 * (%1) + 2], 8
	mov byte [idt + 8 * (%1) + 5], 0x8e
	shr eax, 16
	mov word [idt + 8 * (%1) + 6], ax
%endmacro

	GUEST
	FLAT_SEGMENTS
	GATE 2, on_nmi
	GATE VEC_HELLO, on_hello
	GATE VEC_MOVED, on_moved
	GATE 0xff, on_spurious
	lidt [idtr]
	call make_tables
	call page
	mov dword [APIC_SVR], 0x1ff
	mov esi, trampoline
	mov edi, TRAMPOLINE
	mov ecx, trampoline_end - trampoline
	rep movsb

	; The second STARTUP is nothing to one that runs.
%assign cpu 1
%rep CPUS - 1
	SEND cpu, ICR_INIT
	SEND cpu, ICR_STARTUP | TRAMPOLINE >> 12
	SEND cpu, ICR_STARTUP | TRAMPOLINE >> 12
	WAIT_FOR started, cpu
%assign cpu cpu + 1
%endrep
	SAY "all have started"

	mov dword [step], 1
	call count
	WAIT_FOR done, CPUS
	mov eax, [sum]
	EXPECT eax, CPUS * COUNTS
	mov eax, [guarded]
	EXPECT eax, CPUS * COUNTS / 10
	SAY "all have counted"

	mov dword [step], 2
	WAIT_FOR ready, CPUS - 1
	mov dword [APIC_ICR], ICR_OTHERS | VEC_HELLO
	WAIT_FOR hellos, CPUS - 1
	SEND 2, ICR_NMI
	WAIT_FOR nmis, 1
	mov eax, [nmi_at]
	EXPECT eax, 2
	SAY "all have been interrupted"

	mov ebx, 0
.move:
	mov eax, frames
	mov ecx, ebx
	and ecx, 1
	shl ecx, 12
	add eax, ecx
	or eax, 3
	mov [window_table], eax
	inc ebx
	invlpg [WINDOW]
	mov dword [WINDOW], ebx
	mov [expected], ebx
	mov dword [acks], 0
	mov dword [APIC_ICR], ICR_OTHERS | VEC_MOVED
	WAIT_FOR acks, CPUS - 1
	cmp ebx, MOVES
	jb .move
	mov eax, [stale]
	EXPECT eax, 0
	SAY "all have seen each page"

	SEND 3, ICR_INIT
	WASTE 2000
	mov eax, [beats + 3 * 4]
	WASTE 20000
	mov ebx, [beats + 3 * 4]
	EXPECT ebx, eax
	mov dword [APIC_ICR], ICR_OTHERS | VEC_HELLO
	SEND 3, ICR_STARTUP | TRAMPOLINE >> 12
	WAIT_FOR started, CPUS
	WAIT_FOR hellos, 2 * (CPUS - 1) - 1
	SAY "all processors work together"
	EXIT EXIT_OK

; 4 MiB of memory and the APIC as they lie; at WINDOW a table of its own.
make_tables:
	mov dword [directory], 0x83
	mov eax, window_table
	or eax, 3
	mov [directory + 4], eax
	mov dword [directory + 0x3fb * 4], 0xfec00083
	ret

page:
	mov eax, cr4
	or eax, 1 << 4
	mov cr4, eax
	mov eax, directory
	mov cr3, eax
	mov eax, cr0
	or eax, 0x80010000
	mov cr0, eax
	ret

; One lock for all, and one count that it guards.
count:
	mov ecx, COUNTS
.locked:
	lock inc dword [sum]
	loop .locked
	mov ecx, COUNTS / 10
.guarded:
	mov eax, 1
	xchg [lock_word], eax
	test eax, eax
	jz .taken
	pause
	jmp .guarded
.taken:
	mov eax, [guarded]
	inc eax
	mov [guarded], eax
	mov dword [lock_word], 0
	loop .guarded
	lock inc dword [done]
	ret

other:
	mov eax, 16
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov ebx, [APIC_ID]
	shr ebx, 24
	mov esp, ebx
	shl esp, 12
	add esp, stacks		; the top of the one below: number 0 is not used
	lidt [idtr]
	call page
	mov dword [APIC_SVR], 0x1ff
	lock inc dword [started]
	cmp dword [step], 2
	je .listen
.first:
	pause
	cmp dword [step], 0
	je .first
	push ebx
	call count
	pop ebx
.second:
	pause
	cmp dword [step], 2
	jne .second
	lock inc dword [ready]
	sti
	hlt
.listen:
	sti
	inc dword [beats + ebx * 4]
	mov eax, [window_table]
	test eax, eax
	jz .listen
	mov eax, [WINDOW]	; to have it in the TLB
	jmp .listen

on_hello:
	lock inc dword [hellos]
	mov dword [APIC_EOI], 0
	iret

on_moved:
	push eax
	invlpg [WINDOW]
	mov eax, [WINDOW]
	cmp eax, [expected]
	je .right
	lock inc dword [stale]
.right:
	lock inc dword [acks]
	mov dword [APIC_EOI], 0
	pop eax
	iret

on_nmi:
	push eax
	mov eax, [APIC_ID]
	shr eax, 24
	mov [nmi_at], eax
	lock inc dword [nmis]
	pop eax
	iret

on_spurious:
	iret

	section .data
	STARTUP_CODE 8, other

	FLAT_GDT
idtr:	dw 256 * 8 - 1
	dd idt

	section .bss
	align 4096
directory:	resb 4096
window_table:	resb 4096
frames:		resb 2 * 4096
stacks:		resb CPUS * 4096
idt:		resb 256 * 8
started:	resd 1
step:		resd 1
done:		resd 1
sum:		resd 1
guarded:	resd 1
lock_word:	resd 1
ready:		resd 1
hellos:		resd 1
nmis:		resd 1
nmi_at:		resd 1
expected:	resd 1
acks:		resd 1
stale:		resd 1
beats:		resd CPUS
	section .text
	ROUTINES
