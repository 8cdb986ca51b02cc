; A well-behaved guest beside a hostile one: fills its memory and registers with what is its own and
; looks again and again whether that is still there, and whether time goes on as it should. One line
; each second of its RTC; WRONG and what it saw if anything is not as it should be.
%include "guest.inc"

%define RAM_START 0x200000	; behind the program
%define RAM_END 0x1000000
%define CHUNK 0x40000		; looked at between two looks at the registers
%define MARK 0x5afe1e55		; then the address: tests/guest/hostile/canary.c knows it
%define SEED 0x3c3c3c3c

%define RTC 0x70
%define STAR 0xc0000081
%define KERNEL_GS_BASE 0xc0000102
%define SYSENTER_ESP 0x175

; KEPT value, instruction: what it brings into eax must be this.
%macro KEPT 2+
	%2
	EXPECT eax, %1
%endmacro

	GUEST
	mov eax, cr4
	or eax, 1 << 9		; OSFXSR
	mov cr4, eax
	mov eax, SEED
	mov dr0, eax
	mov dr1, eax
	mov dr2, eax
	mov dr3, eax
	mov cr2, eax
	movd xmm0, eax
	pshufd xmm0, xmm0, 0
%assign i 1
%rep 7
	movdqa xmm %+ i, xmm0
%assign i i + 1
%endrep
	fninit
	fild dword [seed]
	xor edx, edx
%macro FILL 1
	mov ecx, %1
	wrmsr
%endmacro
	FILL STAR
	FILL KERNEL_GS_BASE
	FILL SYSENTER_ESP
	mov edi, RAM_START
	mov eax, MARK
.fill:
	mov [edi], eax
	mov [edi + 4], edi
	add edi, 8
	cmp edi, RAM_END
	jb .fill
	rdtsc
	mov [tsc], eax
	mov [tsc + 4], edx
	SAY "witness: starts"
	mov esi, RAM_START

	; esi: where to look at memory next
look:
	lea ebp, [esi + CHUNK]
.memory:
	mov eax, [esi]
	EXPECT eax, MARK
	mov eax, [esi + 4]
	EXPECT eax, esi
	add esi, 8
	cmp esi, ebp
	jb .memory
	cmp esi, RAM_END
	jb .registers
	mov esi, RAM_START
	inc dword [passes]
.registers:
	KEPT SEED, mov eax, dr0
	KEPT SEED, mov eax, dr1
	KEPT SEED, mov eax, dr2
	KEPT SEED, mov eax, dr3
	KEPT 0x400, mov eax, dr7
	KEPT SEED, mov eax, cr2
	fist dword [now]
	KEPT SEED, mov eax, [now]
%assign i 0
%rep 8
	movdqa [vector], xmm %+ i
  %assign k 0
  %rep 4
	KEPT SEED, mov eax, [vector + k * 4]
  %assign k k + 1
  %endrep
%assign i i + 1
%endrep
%macro SAME 1
	mov ecx, %1
	rdmsr
	EXPECT eax, SEED
	EXPECT edx, 0
%endmacro
	SAME STAR
	SAME KERNEL_GS_BASE
	SAME SYSENTER_ESP
	; Time does not go back.
	rdtsc
	mov ebx, eax
	mov ecx, edx
	sub eax, [tsc]
	sbb edx, [tsc + 4]
	mov [tsc], ebx
	mov [tsc + 4], ecx
	shr edx, 31
	EXPECT edx, 0
	; The seconds: one line for each new one, with what came of them.
	mov al, 0
	out RTC, al
	in al, RTC + 1
	cmp al, [second]
	je look
	mov [second], al
	push esi
	SAY_START "witness: well "
	mov eax, [beats]
	inc dword [beats]
	call say_hex
	mov al, ' '
	call say_char
	mov eax, [passes]
	call say_hex
	mov al, 10
	call say_char
	pop esi
	jmp look

	section .data
	align 16
vector:	times 4 dd 0
seed:	dd SEED
now:	dd 0
passes:	dd 0
beats:	dd 0
tsc:	dd 0, 0
second:	db 0xff

	section .text
	ROUTINES
