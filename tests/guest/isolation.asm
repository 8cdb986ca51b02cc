; State of the processor and of memory that must be new at every start, and must stay this
; VM's own while others run: looks that all is as after RESET, fills it with what the first
; character of its command line says, looks again and again whether it is still there, and
; resets itself, to begin anew. Says nothing unless something is wrong.
%include "guest.inc"

%define ROUNDS 500
%define DELAY 200000

%define RAM_START 0x400000	; behind the program
%define RAM_END 0x1000000
%define START_INFO_CMDLINE 24

%define CR4_OSFXSR (1 << 9)
%define CR4_OSXSAVE (1 << 18)
%define ECX_XSAVE (1 << 26)
%define ECX_AVX (1 << 28)
%define ECX_PKU (1 << 3)
%define CR4_PKE (1 << 22)
%define RDPKRU db 0x0f, 0x01, 0xee	; NASM takes both for 64-bit mode's only
%define WRPKRU db 0x0f, 0x01, 0xef
%define EDX_RDTSCP (1 << 27)

; Registers that keep any value.
%macro MSRS 1
	%1 0xc0000081		; STAR
	%1 0xc0000083		; CSTAR, with a canonical address
	%1 0xc0000084		; SFMASK
	%1 0xc0000102		; KERNEL_GS_BASE
	%1 0x175		; SYSENTER_ESP
	%1 0x200		; MTRRphysBase0, less reserved bits: below
%endmacro

	GUEST
	mov eax, [ebx + START_INFO_CMDLINE]
	movzx eax, byte [eax]
	imul eax, eax, 0x01010101
	mov [seed], eax
	call enable

	; --- as after RESET ---
	mov eax, dr0
	EXPECT eax, 0
	mov eax, dr1
	EXPECT eax, 0
	mov eax, dr2
	EXPECT eax, 0
	mov eax, dr3
	EXPECT eax, 0
	mov eax, dr6
	EXPECT eax, 0xffff0ff0
	mov eax, dr7
	EXPECT eax, 0x400
	mov eax, cr2
	EXPECT eax, 0
	mov edi, 0
	call look_vectors
	fnstcw [word_now]
	movzx eax, word [word_now]
	EXPECT eax, 0x40
	fnsave [image]
	; The last x87 instruction and its operand: AMD's processors before Zen 2 cannot
	; be made to forget them, but then they are not a guest's. QEMU: the same.
	mov eax, [image + 12]
	call not_of_a_guest
	mov eax, [image + 20]
	call not_of_a_guest
	mov eax, [image + 28]	; ST0
	EXPECT eax, 0
%macro CLEAN 1
  %if %1 != 0x200
	mov ecx, %1
	rdmsr
	EXPECT eax, 0
	EXPECT edx, 0
  %endif
%endmacro
	MSRS CLEAN
	test dword [has], EDX_RDTSCP
	jz .no_aux
	rdtscp
	EXPECT ecx, 0
.no_aux:
	test dword [has], ECX_PKU
	jz .no_keys
	xor ecx, ecx
	RDPKRU
	EXPECT eax, 0
.no_keys:
	xor eax, eax
	call look_ram

	; --- fill ---
	mov eax, [seed]
	mov dr0, eax
	mov dr1, eax
	mov dr2, eax
	mov dr3, eax
	mov cr2, eax
	mov edi, eax
	movd xmm0, edi
	pshufd xmm0, xmm0, 0
%assign i 1
%rep 7
	movdqa xmm %+ i, xmm0
%assign i i + 1
%endrep
	test dword [has], ECX_AVX
	jz .no_avx
%assign i 0
%rep 8
	vinsertf128 ymm %+ i, ymm %+ i, xmm0, 1
%assign i i + 1
%endrep
.no_avx:
	fninit
	fild dword [seed]
%macro FILL 1
	mov ecx, %1
	xor edx, edx
	mov eax, [seed]
	and eax, 0x7f7f7f7f
  %if %1 == 0x200
	and eax, 0x7f7ff000
  %endif
	wrmsr
%endmacro
	MSRS FILL
	test dword [has], EDX_RDTSCP
	jz .no_aux_either
	mov ecx, 0xc0000103
	mov eax, [seed]
	xor edx, edx
	wrmsr
.no_aux_either:
	test dword [has], ECX_PKU
	jz .no_keys_either
	mov eax, [seed]
	xor ecx, ecx
	xor edx, edx
	WRPKRU
.no_keys_either:
	mov eax, [seed]
	mov edi, RAM_START
	mov ecx, (RAM_END - RAM_START) / 4
	rep stosd

	; --- still there? ---
	mov ebp, ROUNDS
round:
	mov ecx, DELAY
	loop $
	mov ebx, [seed]
	mov eax, dr0
	cmp eax, ebx
	jne .bad
	mov eax, dr1
	cmp eax, ebx
	jne .bad
	mov eax, dr2
	cmp eax, ebx
	jne .bad
	mov eax, dr3
	cmp eax, ebx
	jne .bad
	mov eax, cr2
	cmp eax, ebx
	jne .bad
	mov edi, ebx
	call look_vectors
	fist dword [word_now]
	mov eax, [word_now]
	mov ebx, [seed]
	cmp eax, ebx
	jne .bad
%macro KEPT 1
	mov ecx, %1
	rdmsr
	mov ebx, [seed]
	and ebx, 0x7f7f7f7f
  %if %1 == 0x200
	and ebx, 0x7f7ff000
  %endif
	cmp eax, ebx
	jne .bad
%endmacro
	MSRS KEPT
	test dword [has], EDX_RDTSCP
	jz .no_aux
	rdtscp
	mov eax, ecx
	mov ebx, [seed]
	cmp eax, ebx
	jne .bad
.no_aux:
	test dword [has], ECX_PKU
	jz .no_keys
	xor ecx, ecx
	RDPKRU
	mov ebx, [seed]
	cmp eax, ebx
	jne .bad
.no_keys:
	dec ebp
	jnz round
	mov eax, [seed]
	call look_ram
	mov dx, 0xcf9
	mov al, 6
	out dx, al
	hlt
.bad:
	mov ecx, __?LINE?__
	jmp wrong

; Turn on what there is of SSE, AVX and protection keys.
enable:
	mov eax, 0x80000001
	cpuid
	and edx, EDX_RDTSCP
	mov [has], edx
	mov eax, 1
	cpuid
	mov esi, ecx
	mov eax, cr0
	and eax, ~0xc		; EM would be bit 2, TS bit 3
	mov cr0, eax
	mov eax, cr4
	or eax, CR4_OSFXSR
	mov cr4, eax
	xor eax, eax
	cpuid
	cmp eax, 7
	jb .no_keys
	mov eax, 7
	xor ecx, ecx
	cpuid
	and ecx, ECX_PKU
	jz .no_keys
	or [has], ecx
	mov eax, cr4
	or eax, CR4_PKE
	mov cr4, eax
.no_keys:
	mov eax, cr4
	test esi, ECX_XSAVE
	jz .done
	or eax, CR4_OSXSAVE
	mov cr4, eax
	test esi, ECX_AVX
	jz .done
	or dword [has], ECX_AVX
	xor ecx, ecx
	xgetbv
	or eax, 7
	xsetbv
.done:
	ret

; Is every double word of XMM0-7, or YMM0-7, equal to edi?
look_vectors:
%assign i 0
%rep 8
	movdqu [image + i * 32], xmm %+ i
%assign i i + 1
%endrep
	mov edx, 16
	test dword [has], ECX_AVX
	jz .look
	mov edx, 32
%assign i 0
%rep 8
	vmovdqu [image + i * 32], ymm %+ i
%assign i i + 1
%endrep
.look:
	xor esi, esi
.register:
	xor ecx, ecx
.dword:
	lea eax, [esi + ecx]
	mov eax, [image + eax]
	cmp eax, edi
	jne .bad
	add ecx, 4
	cmp ecx, edx
	jb .dword
	add esi, 32
	cmp esi, 256
	jb .register
	ret
.bad:
	mov ebx, edi
	mov ecx, __?LINE?__
	jmp wrong

; An address that a guest's program could have?
not_of_a_guest:
	test eax, eax
	jz .good
	cmp eax, RAM_START
	jae .good
	xor ebx, ebx
	mov ecx, __?LINE?__
	jmp wrong
.good:
	ret

; Is every double word of RAM behind the program equal to eax?
look_ram:
	mov edi, RAM_START
	mov ecx, (RAM_END - RAM_START) / 4
	repe scasd
	je .good
	mov ebx, eax
	mov eax, [edi - 4]
	mov ecx, __?LINE?__
	jmp wrong
.good:
	ret

	section .bss
	align 64
image:	resb 256
seed:	resd 1
has:	resd 1
word_now: resd 1

	section .text
	ROUTINES
