; A guest with breakpoints, single steps and INT3s of its own, for ever; it must never see what a
; debugger outside does meanwhile. tests/boot/test_debug.py puts points at point, point_int3 and
; watched.
%include "guest.inc"

%define ROUNDS 5000		; between two lines

%define FLAGS_TF 0x100
%define DR6_CLEAR 0xffff0ff0
%define DR7_CLEAR 0x400

%macro GATE 2
	mov eax, %2
	mov [idt + %1 * 8], ax
	mov word [idt + %1 * 8 + 2], 8
	mov word [idt + %1 * 8 + 4], 0x8e00
	shr eax, 16
	mov [idt + %1 * 8 + 6], ax
%endmacro

; No TF but the guest's own.
%macro NO_TF 0
	pushfd
	pop eax
	and eax, FLAGS_TF
	EXPECT eax, 0
%endmacro

	GUEST
	IDT32 0x1f, on_stray
	GATE 1, on_debug
	GATE 3, on_int3
	GATE 6, on_ud
	GATE 0x40, on_soft
	lidt [idtr]
	mov eax, own_word
	mov dr1, eax
	mov eax, DR6_CLEAR
	mov dr6, eax
	SAY "debug guest: ready"

round:
	; A breakpoint of its own: 4 bytes written, by DR1.
	mov dword [debugs], 0
	mov eax, 0xd00404
	mov dr7, eax
	mov dword [own_word], 1
	nop
	mov eax, dr7
	EXPECT eax, 0xd00404
	mov eax, dr1
	EXPECT eax, own_word
	mov eax, DR7_CLEAR
	mov dr7, eax
	mov eax, dr7
	EXPECT eax, DR7_CLEAR
	mov eax, [debugs]
	EXPECT eax, 1
	mov eax, [last_dr6]
	EXPECT eax, 0xffff0ff2
	mov eax, dr6
	EXPECT eax, DR6_CLEAR
	NO_TF

	; INT3.
	mov dword [int3s], 0
	int3
after_int3:
	mov eax, [int3s]
	EXPECT eax, after_int3

	; A single step of its own.
	mov dword [debugs], 0
	pushfd
	or dword [esp], FLAGS_TF
	popfd
	nop
after_step:
	mov eax, [debugs]
	EXPECT eax, 1
	mov eax, [last_eip]
	EXPECT eax, after_step
	mov eax, [last_dr6]
	EXPECT eax, 0xffff4ff0

	; What shows the flags: INT n, exceptions, PUSHF.
	int 0x40
	mov eax, [soft_flags]
	and eax, FLAGS_TF
	EXPECT eax, 0
	ud2
	mov eax, [soft_flags]
	and eax, FLAGS_TF
	EXPECT eax, 0
	NO_TF

	; What leaves for Umbra, repeats, or has a shadow.
	xor eax, eax
	cpuid
	mov ecx, 5
	mov edi, buffer
	mov al, 0x5a
	rep stosb
	movzx eax, byte [buffer + 4]
	EXPECT eax, 0x5a
	mov byte [buffer + 4], 0
	mov eax, ss
	mov ss, eax
	mov ebp, esp
	NO_TF
	movzx eax, byte [point]
	EXPECT eax, 0x90

point:
	nop
	inc dword [watched]
after_watched:
	call point_int3
	dec dword [left]
	jnz round
	mov dword [left], ROUNDS
	SAY "debug guest: more rounds"
	jmp round

point_int3:
	mov eax, dr6
	EXPECT eax, DR6_CLEAR
	mov eax, dr7
	EXPECT eax, DR7_CLEAR
	ret

on_debug:
	push eax
	inc dword [debugs]
	mov eax, dr6
	mov [last_dr6], eax
	mov eax, DR6_CLEAR
	mov dr6, eax
	mov eax, [esp + 4]
	mov [last_eip], eax
	and dword [esp + 12], ~FLAGS_TF
	pop eax
	iretd

on_int3:
	push eax
	mov eax, [esp + 4]
	mov [int3s], eax
	mov eax, [esp + 12]
	test eax, FLAGS_TF
	jnz on_stray
	pop eax
	iretd

on_soft:
	push eax
	mov eax, [esp + 12]
	mov [soft_flags], eax
	pop eax
	iretd

on_ud:
	push eax
	mov eax, [esp + 12]
	mov [soft_flags], eax
	add dword [esp + 4], 2
	pop eax
	iretd

on_stray:
	SAY "WRONG: a stray exception, or a step's flag in a frame"
	EXIT EXIT_WRONG

	global point, point_int3, watched
	section .bss
	align 8
idt:	resb 0x41 * 8
debugs:	resd 1
last_dr6: resd 1
last_eip: resd 1
int3s:	resd 1
soft_flags: resd 1
own_word: resd 1
watched: resd 1
buffer:	resb 8
	section .data
idtr:	dw 0x41 * 8 - 1
	dd idt
left:	dd ROUNDS

	section .text
	ROUTINES
