; The machine's side of the paging test: multiboot entry, 64-bit mode, exceptions, and probe:
; one access and what came of it.
;
; PAGING (from the Makefile): 32, 33 (32-bit with PSE), 36 (PAE), 64 or 57 (five levels).
%include "guest.inc"
%include "lib/long.inc"

%if PAGING == 64 || PAGING == 57
%define LONG 1
%else
%define LONG 0
%endif

%if LONG
%define W 8
%define ax_ rax
%define bx_ rbx
%define bp_ rbp
%define sp_ rsp
%define si_ rsi
%define di_ rdi
%define word_ dq
%define wide qword
%define iret_ iretq
%define popf_ popfq
%else
%define W 4
%define ax_ eax
%define bx_ ebx
%define bp_ ebp
%define sp_ esp
%define si_ esi
%define di_ edi
%define word_ dd
%define wide dword
%define iret_ iretd
%define popf_ popfd
%endif

; Selectors, as machine.c has them.
%define CODE 0x08
%define DATA 0x10
%define UCODE 0x1b
%define UDATA 0x23
%define LDT_SELECTOR 0x907	; what *_implicit loads

%define DONE 0x80		; by this vector a probe says that nothing faulted

; Offsets in the page, as paging.h has them; a fetch goes to 0.
%define READ_AT 0x808
%define WRITE_AT 0x810
%define NO_PORT 0x80		; INS and OUTS: nobody minds

; struct probe_io of paging.h.
%define IO_VA io + 0 * W
%define IO_STUB io + 1 * W
%define IO_USER io + 2 * W
%define IO_FLAGS io + 3 * W
%define IO_VECTOR io + 4 * W
%define IO_ERROR io + 5 * W
%define IO_CR2 io + 6 * W
%define IO_VALUE io + 7 * W

	extern io, guest_main, stray

; Each version of multiboot is met by an ELF file of 32 and by one of 64 bits. QEMU itself knows
; version 1 only, and of 64 bits none but by the header's addresses: else it takes the note.
	section .multiboot
%if PAGING == 33 || PAGING == 64
	align 8
header:	dd 0xe85250d6, 0, header_end - header, -(0xe85250d6 + header_end - header)
	dw 0, 0			; no more tags
	dd 8
header_end:
	PVH_NOTE start
%elif PAGING == 57
	extern load_end, bss_end
%define FLAGS 0x10000		; addresses
	align 4
header:	dd 0x1badb002, FLAGS, -(0x1badb002 + FLAGS), header, header, load_end, bss_end, start
%else
	align 4
	dd 0x1badb002, 0, -0x1badb002
%endif

	section .bss
	alignb 16
	resb 16384
stack_top:

	section .text
	bits 32
	global start
start:
	mov esp, stack_top
	mov [entry_eax], eax
	mov [entry_ebx], ebx
%if LONG
	; 2 MiB pages until guest_main() has made its own tables.
	mov eax, cr4
	or eax, 1 << 5
	mov edi, early_pml4
%if PAGING == 57
	mov esi, eax
	mov eax, 7
	xor ecx, ecx
	cpuid
	mov eax, esi
	bt ecx, 16
	jnc .levels		; guest_main() will find it so
	or eax, 1 << 12
	mov edi, early_pml5
.levels:
%endif
	mov ebx, cr0
	or ebx, 1 << 31
	LONG_MODE eax, edi, EFER_LME, ebx
%endif
	lgdt [gdtr]
	jmp CODE:.cs
%if LONG
	bits 64
	default rel
%endif
.cs:
	; CPL 0 may use user data segments, and IRET to CPL 3 leaves them alone.
	mov eax, UDATA
	mov ds, eax
	mov es, eax
	mov eax, DATA
	mov ss, eax
	mov sp_, stack_top
	call guest_main

; probe(): do the access that io describes. Exceptions and DONE end it, see on_vector.
	global probe
probe:
	push bx_
	push bp_
%if LONG
	push r12
	push r13
	push r14
	push r15
%else
	push esi
	push edi
%endif
	mov [saved_sp], sp_
	mov bx_, [IO_VA]
	mov eax, LDT_SELECTOR
	cmp dword [IO_USER], 0
	jne .user
	push wide [IO_FLAGS]
	popf_
	jmp [IO_STUB]
.user:
	push UDATA
	push 0			; no stub has a stack
	push wide [IO_FLAGS]
	push UCODE
	push wide [IO_STUB]
	iret_

	VECTOR_STUBS 32, on_vector
vector_done:
	push 0
	push DONE

; Leaves the probe, wherever it was: probe() returns.
on_vector:
	mov [IO_VALUE], ax_
	pop ax_
	mov [IO_VECTOR], ax_
	pop ax_
	mov [IO_ERROR], ax_
	mov ax_, cr2
	mov [IO_CR2], ax_
	cmp dword [saved_sp], 0
	je .stray
	mov sp_, [saved_sp]
	mov dword [saved_sp], 0
	push 2			; EFLAGS.AC is over
	popf_
%if LONG
	pop r15
	pop r14
	pop r13
	pop r12
%else
	pop edi
	pop esi
%endif
	pop bp_
	pop bx_
	ret
.stray:
%if LONG
	mov rdi, [rsp]
	call stray
%else
	call stray		; the word at ESP, EIP, is its argument
%endif

; The accesses, at bx_. What a fetch reaches is INT DONE.
%macro STUBS 1
	global %1_read, %1_write, %1_fetch, %1_implicit, %1_outs, %1_ins, %1_load_cr3, %1_load_cr4
%1_read:
	mov eax, [bx_ + READ_AT]
	int DONE
%1_write:
	mov dword [bx_ + WRITE_AT], 0x5a5a5a5a
	int DONE
%1_fetch:
	jmp bx_
%1_implicit:
	mov gs, eax
	int DONE
%1_outs:
	lea si_, [bx_ + READ_AT]
	mov edx, NO_PORT
	outsb
	int DONE
%1_ins:
	lea di_, [bx_ + WRITE_AT]
	mov edx, NO_PORT
	insb
	int DONE
%1_load_cr3:
	mov cr3, bx_
	int DONE
%1_load_cr4:
	mov cr4, bx_
	int DONE
%endmacro

	STUBS kernel
	section .user exec
	STUBS user

	section .rodata
	align 8
	global vectors
vectors:
	VECTOR_TABLE 32, word_
	word_ vector_done

	section .data
	align 8
	global gdt
gdt:	dq 0
%if LONG
	dq 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00affb000000ffff, 0x00cff3000000ffff
%else
	dq 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00cffb000000ffff, 0x00cff3000000ffff
%endif
	dq 0, 0, 0, 0		; TSS, LDT: two words each in 64-bit mode
gdtr:	dw 9 * 8 - 1
	word_ gdt
saved_sp: dq 0			; 0: no probe is under way
	global entry_eax, entry_ebx
entry_eax: dd 0
entry_ebx: dd 0

%if LONG
	align 4096
early_pml5:
	dq early_pml4 + 3
	times 511 dq 0
early_pml4:
	dq early_pdpt + 3
	times 511 dq 0
early_pdpt:
	dq early_pd + 3
	times 511 dq 0
early_pd:
%assign frame 0
%rep 512
	dq frame << 21 | 0x83
%assign frame frame + 1
%endrep
%endif
