; With apic=on: the I/O APIC's registers; the 8254, the RTC and the HPET by its inputs, edge and level;
; the HPET's modes; and how fast the TSC runs, by CPUID and by the HPET.
%include "guest.inc"

%define IOREGSEL	0xfec00000
%define IOWIN		0xfec00010
%define IOEOI		0xfec00040
%define SVR		0xfee000f0
%define EOI		0xfee000b0
%define HPET		0xfed00000
%define HPET_CONFIG	(HPET + 0x10)
%define HPET_STATUS	(HPET + 0x20)
%define HPET_COUNTER	(HPET + 0xf0)
%define HPET_TIMER(n)	(HPET + 0x100 + 0x20 * (n))

%define MASKED		0x10000
%define LEVEL		0x8000
%define REMOTE_IRR	0x4000
%define ACTIVE_LOW	0x2000

%define V_PIT		0x40
%define V_RTC		0x48
%define V_EDGE		0x50
%define V_LEVEL		0x51
%define V_MESSAGE	0x52
%define VECTORS		0x60

; GET_IO reg: EAX
%macro GET_IO 1
	mov dword [IOREGSEL], %1
	mov eax, [IOWIN]
%endmacro
%macro PUT_IO 2
	mov dword [IOREGSEL], %1
	mov dword [IOWIN], %2
%endmacro
; PIN n, value: the entry's lower half
%macro PIN 2
	PUT_IO 0x10 + 2 * %1, %2
%endmacro
%macro GET_PIN 1
	GET_IO 0x10 + 2 * %1
%endmacro
; CAME vector: EAX
%macro CAME 1
	mov eax, [count + %1 * 4]
%endmacro
; AWAIT vector, n: until it has come n times
%macro AWAIT 2
%%again:
	sti
	nop
	cli
	cmp dword [count + %1 * 4], %2
	jb %%again
%endmacro
%macro FORGET 1
	mov dword [count + %1 * 4], 0
%endmacro
; PASS ticks: with interrupts on, until the HPET's counter has gone on by so many
%macro PASS 1
	mov ebx, [HPET_COUNTER]
	sti
%%again:
	mov eax, [HPET_COUNTER]
	sub eax, ebx
	cmp eax, %1
	jb %%again
	cli
%endmacro
%macro CMOS 2
	mov al, %1
	out 0x70, al
	mov al, %2
	out 0x71, al
%endmacro
%macro PIT_START 2	; control, count
	mov al, %1
	out 0x43, al
	mov al, %2 & 0xff
	out 0x40, al
	mov al, %2 >> 8
	out 0x40, al
%endmacro

	GUEST
	FLAT_SEGMENTS
	call make_idt
	mov al, 0xff
	out 0x21, al
	out 0xa1, al
	mov dword [SVR], 0x1ff
	mov dword [HPET_CONFIG], 1
	call registers
	call timer
	call masked_edges
	call clock
	call hpet_registers
	call hpet_one_shot
	call hpet_level
	call hpet_message
	call hpet_periodic
	call hpet_legacy
	call tsc
	SAY "all as it has to be"
	EXIT EXIT_OK

make_idt:
	mov ecx, 0
.gate:
	mov eax, stubs
	imul edx, ecx, stub_size
	add eax, edx
	mov [idt + ecx * 8], ax
	mov word [idt + ecx * 8 + 2], 8
	mov word [idt + ecx * 8 + 4], 0x8e00
	shr eax, 16
	mov [idt + ecx * 8 + 6], ax
	inc ecx
	cmp ecx, VECTORS
	jb .gate
	lidt [idtr]
	ret

; Every vector is counted. The level-triggered one's cause goes when it has come three times.
taken:	; the vector is on the stack
	push eax
	mov eax, [esp + 4]
	cmp eax, 0x20
	jb fault
	inc dword [count + eax * 4]
	cmp eax, V_RTC
	jne .no_rtc
	mov al, 0x0c
	out 0x70, al
	in al, 0x71
.no_rtc:
	cmp dword [esp + 4], V_LEVEL
	jne .end
	cmp dword [count + V_LEVEL * 4], 3
	jne .end
	mov dword [HPET_STATUS], 2
.end:
	mov dword [EOI], 0
	pop eax
	add esp, 4
	iret

fault:	; eax: the exception
	xor ebx, ebx
	mov ecx, __?LINE?__
	jmp wrong

; --- the I/O APIC by itself ---

registers:
	GET_IO 1
	EXPECT eax, 0x00170020
	GET_PIN 23
	EXPECT eax, MASKED
	PIN 23, 0xffffffff	; what can be written is kept, and no more
	GET_PIN 23
	EXPECT eax, 0x0001afff
	PUT_IO 0x3f, 0xffffffff
	GET_IO 0x3f
	EXPECT eax, 0xff000000
	PUT_IO 0x3f, 0
	PIN 23, MASKED
	PUT_IO 1, 0
	GET_IO 1
	EXPECT eax, 0x00170020
	PUT_IO 0, 0xffffffff
	GET_IO 0
	EXPECT eax, 0x0f000000
	GET_IO 2
	EXPECT eax, 0x0f000000
	GET_IO 0x40
	EXPECT eax, 0
	movzx eax, byte [IOREGSEL]
	EXPECT eax, 0x40
	SAY "registers"
	ret

; --- the 8254 on input 2 ---

timer:
	PIN 2, V_PIT
	PIT_START 0x34, 1193	; a thousand times a second
	AWAIT V_PIT, 20
	GET_PIN 2
	EXPECT eax, V_PIT	; an edge leaves no trace
	PIN 2, MASKED | V_PIT
	PASS 100000
	FORGET V_PIT
	PASS 1000000		; 10 ms
	CAME V_PIT
	EXPECT eax, 0
	SAY "8254"
	ret

; One shot while its input is masked: neither now nor later.
masked_edges:
	PIN 2, MASKED | V_PIT
	PIT_START 0x30, 1000
.wait:
	mov al, 0xe2		; the status of channel 0
	out 0x43, al
	in al, 0x40
	test al, 0x80
	jz .wait
	PASS 500000
	PIN 2, V_PIT
	PASS 500000
	CAME V_PIT
	EXPECT eax, 0
	PIT_START 0x30, 1000	; unmasked it comes, once
	AWAIT V_PIT, 1
	PASS 500000
	CAME V_PIT
	EXPECT eax, 1
	PIN 2, MASKED
	SAY "masked edges"
	ret

; --- the RTC on input 8 ---

clock:
	mov al, 0x0c
	out 0x70, al
	in al, 0x71
	PIN 8, V_RTC
	CMOS 0x0a, 0x26		; 1024 Hz
	CMOS 0x0b, 0x42
	AWAIT V_RTC, 20
	CMOS 0x0b, 0x02
	PASS 100000
	FORGET V_RTC
	PASS 500000
	CAME V_RTC
	EXPECT eax, 0
	CMOS 0x0b, 0x12		; once a second
	AWAIT V_RTC, 1
	CMOS 0x0b, 0x02
	PIN 8, MASKED
	SAY "RTC"
	ret

; --- the HPET ---

hpet_registers:
	mov eax, [HPET]
	EXPECT eax, 0x8086a201
	mov eax, [HPET + 4]
	EXPECT eax, 10000000
	mov dword [HPET_CONFIG], 0
	mov dword [HPET_COUNTER], 0xfffffff0
	mov dword [HPET_COUNTER + 4], 7
	mov eax, [HPET_COUNTER]
	EXPECT eax, 0xfffffff0	; it stands
	mov eax, [HPET_TIMER(2)]
	EXPECT eax, 0x8030
	mov eax, [HPET_TIMER(2) + 4]
	EXPECT eax, 0x00f00000
	mov dword [HPET_TIMER(2)], 0xffffffff
	mov eax, [HPET_TIMER(2)]
	EXPECT eax, 0xc13e	; input 31 there is not
	mov dword [HPET_TIMER(2)], 0
	mov dword [HPET_CONFIG], 1
	PASS 1000
	mov eax, [HPET_COUNTER + 4]
	EXPECT eax, 8
	SAY "HPET registers"
	ret

; SHOT n, config, ticks: with the counter halted, for the guest may not run between any two instructions
%macro SHOT 3
	mov dword [HPET_CONFIG], 0
	mov dword [HPET_TIMER(%1)], %2
	mov eax, [HPET_COUNTER]
	add eax, %3
	mov dword [HPET_TIMER(%1) + 8], eax
	mov dword [HPET_CONFIG], 1
%endmacro

hpet_one_shot:
	PIN 20, V_EDGE
	SHOT 0, 20 << 9 | 0x104, 1000000
	CAME V_EDGE
	EXPECT eax, 0
	AWAIT V_EDGE, 1
	mov eax, [HPET_COUNTER]
	sub eax, [HPET_TIMER(0) + 8]
	test eax, eax
	js early
	PASS 500000
	CAME V_EDGE
	EXPECT eax, 1
	mov dword [HPET_TIMER(0)], 0
	SAY "one shot"
	ret
early:
	xor ebx, ebx
	mov ecx, __?LINE?__
	jmp wrong

; Again after each EOI, until the status is cleared.
hpet_level:
	PIN 21, LEVEL | ACTIVE_LOW | V_LEVEL
	SHOT 1, 21 << 9 | 0x106, 500000
	AWAIT V_LEVEL, 3
	PASS 500000
	CAME V_LEVEL
	EXPECT eax, 3
	mov eax, [HPET_STATUS]
	EXPECT eax, 0
	GET_PIN 21
	EXPECT eax, LEVEL | ACTIVE_LOW | V_LEVEL
	; Masked: it waits; remote IRR and the directed EOI.
	PIN 21, MASKED | LEVEL | ACTIVE_LOW | V_LEVEL
	SHOT 1, 21 << 9 | 0x106, 200000
	PASS 500000
	mov eax, [HPET_STATUS]
	EXPECT eax, 2
	CAME V_LEVEL
	EXPECT eax, 3
	cli
	PIN 21, LEVEL | ACTIVE_LOW | V_LEVEL
	GET_PIN 21
	EXPECT eax, LEVEL | REMOTE_IRR | ACTIVE_LOW | V_LEVEL
	mov dword [HPET_STATUS], 2
	mov dword [IOEOI], V_LEVEL
	GET_PIN 21
	EXPECT eax, LEVEL | ACTIVE_LOW | V_LEVEL
	AWAIT V_LEVEL, 4	; the local APIC had it already
	PASS 100000
	CAME V_LEVEL
	EXPECT eax, 4
	mov dword [HPET_TIMER(1)], 0
	PIN 21, MASKED
	SAY "level"
	ret

hpet_message:
	mov dword [HPET_TIMER(2) + 0x10], V_MESSAGE
	mov dword [HPET_TIMER(2) + 0x14], 0xfee00000
	SHOT 2, 0x4104, 100000
	AWAIT V_MESSAGE, 1
	mov dword [HPET_TIMER(2) + 0x14], 0x00100000	; memory: not written
	mov dword [0x100000 - 4], 0
	SHOT 2, 0x4104, 200000
	PASS 500000
	CAME V_MESSAGE
	EXPECT eax, 1
	mov dword [HPET_TIMER(2)], 0
	SAY "message"
	ret

hpet_periodic:
	FORGET V_EDGE
	mov dword [HPET_CONFIG], 0
	mov dword [HPET_TIMER(0)], 20 << 9 | 0x14c
	mov eax, [HPET_COUNTER]
	add eax, 200000
	mov ebp, eax
	mov [HPET_TIMER(0) + 8], eax
	mov dword [HPET_TIMER(0) + 8], 100000
	mov dword [HPET_CONFIG], 1
	AWAIT V_EDGE, 10
	mov eax, [HPET_COUNTER]
	sub eax, ebp
	cmp eax, 900000		; the tenth is nine periods after the first, at the earliest
	jb early
	mov dword [HPET_TIMER(0)], 0
	PIN 20, MASKED
	SAY "periodic"
	ret

; Timer 0 in the 8254's place, which is not heard until it is given back.
hpet_legacy:
	PIN 2, V_PIT
	PASS 100000
	PIT_START 0x34, 1193
	AWAIT V_PIT, 1
	mov dword [HPET_CONFIG], 3
	PASS 100000
	FORGET V_PIT
	PASS 1000000
	CAME V_PIT
	EXPECT eax, 0
	mov al, 0x30		; as the counter is set the 8254 has the wire: without a count it is still
	out 0x43, al
	mov dword [HPET_CONFIG], 0
	mov dword [HPET_TIMER(0)], 0x104
	mov eax, [HPET_COUNTER]
	add eax, 100000
	mov dword [HPET_TIMER(0) + 8], eax
	FORGET V_PIT
	mov dword [HPET_CONFIG], 3
	AWAIT V_PIT, 1
	PASS 500000
	CAME V_PIT
	EXPECT eax, 1
	mov dword [HPET_CONFIG], 1
	PIT_START 0x34, 1193
	AWAIT V_PIT, 10
	PIN 2, MASKED
	PIT_START 0x30, 0
	SAY "legacy replacement"
	ret

; --- the TSC ---

; Over 20 ms, within 2% of what leaf 40000010 says; up to ten times, for the processor may be others'
; between two readings.
tsc:
	mov eax, 0x40000010
	cpuid
	mov [khz], eax
	mov dword [tries], 10
.again:
	mov ebp, [HPET_COUNTER]
	rdtsc
	mov edi, eax
.wait:
	mov ecx, [HPET_COUNTER]
	rdtsc
	sub ecx, ebp
	cmp ecx, 2000000
	jb .wait
	sub eax, edi
	; ticks a millisecond: eax * 100000 / ecx
	mov edx, 100000
	mul edx
	div ecx
	mov ebx, [khz]
	mov ecx, eax
	sub ecx, ebx
	jns .positive
	neg ecx
.positive:
	imul ecx, ecx, 50
	cmp ecx, ebx
	jb .good
	dec dword [tries]
	jnz .again
	EXPECT eax, ebx
.good:
	SAY "TSC"
	ret

	ROUTINES

	align 16
stubs:
%assign vector 0
%rep VECTORS
	push dword vector
	jmp near taken
	align 16
%if vector = 0
stub_size equ $ - stubs
%endif
%assign vector vector + 1
%endrep

	section .data
	FLAT_GDT
idtr:	dw VECTORS * 8 - 1
	dd idt

	section .bss
	alignb 8
idt:	resb VECTORS * 8
count:	resd VECTORS
khz:	resd 1
tries:	resd 1
