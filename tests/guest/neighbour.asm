; Guests for those who share a CPU. The first letter of the command line says which:
;
;   w  works: counts how far it comes in PERIODS times PERIOD ticks of the TSC, says it, ends
;   l  sleeps: timer interrupts at 100 Hz, between them HLT; says the longest gap in ticks, ends
;   t  ticks: takes 40 timer interrupts at about 18 Hz, says so, ends
;
; and those that nobody wants beside him, which never end:
;
;   c  loops with interrupts off           i  asks CPUID
;   o  writes to port 80                   m  reads a device's window where no device is
;   f  writes to its serial port, with waiting for room; g without
;   s  REP OUTSB and REP STOSB of megabytes to where nothing is
;   p  page faults                         r  changes its page tables and loads CR3
;   k  timer interrupts as fast as may be  x  crashes (on-crash=restart)
;   y  spins with PAUSE, which TCG does very slowly
;   a  has all its other processors' local APICs tick every 100 us, and they take it; b with interrupts off
%include "guest.inc"

%define PERIODS	4
%define PERIOD	(1 << 28)
%define TABLES	0x400000	; 12 KiB
%define NOTHING	0xd0000000
%define IRQ0	24		; below 32, where IDT32 has its gates

	GUEST
	mov esi, [ebx + 24]	; hvm_start_info: the command line
	movzx ebp, byte [esi]
	mov edi, table
.find:
	mov eax, [edi]
	test eax, eax
	jz .unknown
	cmp eax, ebp
	je .found
	add edi, 8
	jmp .find
.found:
	call [edi + 4]
.unknown:
	mov eax, ebp
	EXPECT eax, 'w'

	section .rodata
	align 4
table:
	dd 'w', work, 'l', sleeper, 't', ticker
	dd 'c', cli_loop, 'i', ask, 'o', port, 'm', mmio, 'f', flood, 'g', flood_blind
	dd 's', strings, 'p', faults, 'r', reloads, 'k', timers, 'x', crash, 'y', spin
	dd 'a', apics, 'b', apics_cli
	dd 0
	section .text

; --- victims ---

work:
	mov ebp, PERIODS
.period:
	rdtsc
	mov ebx, eax
	xor ecx, ecx
.count:
	inc ecx
	test ecx, 0xff
	jnz .count
	rdtsc
	sub eax, ebx
	cmp eax, PERIOD
	jb .count
	push ecx
	SAY_START "worked "
	pop eax
	call say_hex
	mov al, 10
	call say_char
	dec ebp
	jnz .period
	EXIT EXIT_OK

%macro PIT 1			; %1: channel 0's count
	mov al, 0x34
	out 0x43, al
	mov al, (%1) & 0xff
	out 0x40, al
	mov al, (%1) >> 8
	out 0x40, al
%endmacro

; Both 8259, and IRQ 0 alone let through.
%macro PICS 0
	IDT32 IRQ0, irq0
	PIC IRQ0
%endmacro

irq0:
	push eax
	inc dword [ticks]
	mov al, 0x20
	out 0x20, al
	pop eax
	iret

sleeper:
	PICS
	PIT 11932
	xor ebp, ebp		; the longest gap
	rdtsc
	mov ebx, eax
.sleep:
	sti
	hlt
	cli
	rdtsc
	mov ecx, eax
	sub ecx, ebx
	mov ebx, eax
	cmp dword [ticks], 2	; the first gaps are no full ones
	jbe .next
	cmp ecx, ebp
	jbe .next
	mov ebp, ecx
.next:
	cmp dword [ticks], 100
	jb .sleep
	SAY_START "longest gap "
	mov eax, ebp
	call say_hex
	mov al, 10
	call say_char
	EXIT EXIT_OK

ticker:
	PICS
	PIT 0xffff
	mov ebp, 40
.sleep:
	sti
	hlt
	cli
	dec ebp
	jnz .sleep
	SAY "ticked 40 times"
	EXIT EXIT_OK

; --- bad neighbours ---

cli_loop:
	cli
	jmp $

spin:
	pause
	jmp spin

ask:
	xor eax, eax
	cpuid
	jmp ask

port:
	out 0x80, al
	jmp port

mmio:
	mov eax, [NOTHING]
	jmp mmio

flood:
	mov al, '.'
	call say_char
	jmp flood

flood_blind:
	mov edx, COM1
	mov al, '.'
.again:
	out dx, al
	jmp .again

strings:
	mov esi, start
	mov edx, 0x80
	mov ecx, 0x300000
	rep outsb
	mov edi, NOTHING
	mov ecx, 0x300000
	rep stosb
	jmp strings

timers:
	PICS
	PIT 1
	mov al, 0x0a		; RTC: 8192 Hz, periodic interrupts on
	out 0x70, al
	mov al, 0x23
	out 0x71, al
	mov al, 0x0b
	out 0x70, al
	mov al, 0x42
	out 0x71, al
.sleep:
	mov al, 0x0c
	out 0x70, al
	in al, 0x71
	sti
	hlt
	cli
	jmp .sleep

; The others halt in real mode.
APIC_SVR	equ 0xfee000f0
APIC_ICR	equ 0xfee00300
ICR_INIT_ALL	equ 0xc4500
ICR_STARTUP_ALL	equ 0xc4600
OTHERS		equ 0x8000	; their code; above it their stacks
VEC_TICK	equ 0x40

apics_cli:
	mov byte [others.sleep], 0xfa	; CLI in the place of STI
apics:
	mov esi, others
	mov edi, OTHERS
	mov ecx, others_end - others
	rep movsb
	mov dword [4 * VEC_TICK], OTHERS + others_tick - others
	mov dword [APIC_SVR], 0x1ff
	mov dword [APIC_ICR], ICR_INIT_ALL
	mov dword [APIC_ICR], ICR_STARTUP_ALL | OTHERS >> 12
.sleep:
	cli
	hlt
	jmp .sleep

%macro WRITE_X2APIC 2		; register, value
	mov ecx, 0x800 + (%1)
	mov eax, %2
	wrmsr
%endmacro

	section .data
	bits 16
others:
	mov ecx, 0x1b
	rdmsr
	or eax, 0xc00		; x2APIC
	wrmsr
	mov ecx, 0x802
	rdmsr
	inc ax
	shl ax, 6
	add ax, OTHERS + 0x200
	xor dx, dx
	mov ss, dx
	mov sp, ax
	xor edx, edx
	WRITE_X2APIC 0x0f, 0x1ff
	WRITE_X2APIC 0x3e, 0xb	; divide by 1
	WRITE_X2APIC 0x32, 0x20000 | VEC_TICK
	WRITE_X2APIC 0x38, 2500	; of 25 MHz: 100 us
.sleep:
	sti
	hlt
	jmp .sleep
others_tick:
	WRITE_X2APIC 0x0b, 0
	iret
others_end:
	bits 32
	section .text

crash:
	lidt [no_idt]
	ud2

; A page directory of 4 MiB pages that lead to themselves, but for one table.
paging:
	mov edi, TABLES
	mov eax, 0x83		; present, writable, 4 MiB
.entry:
	mov [edi], eax
	add edi, 4
	add eax, 0x400000
	cmp edi, TABLES + 4096
	jb .entry
	mov dword [TABLES + 4 * 2], TABLES + 0x1003	; from 8 MiB on
	mov eax, cr4
	or eax, 0x10
	mov cr4, eax
	mov eax, TABLES
	mov cr3, eax
	mov eax, cr0
	or eax, 0x80010000	; PG, WP
	mov cr0, eax
	ret

faults:
	IDT32 14, .handler
	call paging
.again:
	mov eax, [0x800000]
.handler:
	add esp, 16		; error code, EIP, CS, EFLAGS
	jmp .again

reloads:
	call paging
.again:
	add dword [TABLES + 0x1000], 0x1000
	and dword [TABLES + 0x1000], 0x3ff000
	or dword [TABLES + 0x1000], 3
	mov eax, cr3
	mov cr3, eax
	mov eax, [0x800000]
	jmp .again

	section .data
no_idt:	dw 0
	dd 0
ticks:	dd 0
	section .text
	ROUTINES
