; What INIT and STARTUP make of a processor, whatever it was doing: two processors, of which the second one tells the
; first what it has found in itself. SDM vol. 3, 8.4, table 9-1.
%include "guest.inc"

APIC		equ 0xfee00000
APIC_SVR	equ APIC + 0xf0
APIC_ICR	equ APIC + 0x300
APIC_ICR_HIGH	equ APIC + 0x310
ICR_INIT	equ 0x4500
ICR_DEASSERT	equ 0x8500
ICR_STARTUP	equ 0x4600
ICR_NMI		equ 0x4400
ICR_OTHERS	equ 0xc0000
START		equ 0x70000	; and a page behind it
STACK		equ 0x6000
ORDER		equ 0x6100	; what it is to do when it has told
BEATS		equ 0x6104	; it goes on
NMIS		equ 0x6108
STARTS		equ 0x610c
MSR_STAR	equ 0xc0000081
MSR_EFER	equ 0xc0000080
CR0_PE		equ 1
CR0_CACHE	equ 0x60000000	; CD, NW
SPOIL		equ 1		; ORDER: everything else than it was
HALT		equ 2		; with interrupts off
IN_NMI		equ 3		; the next NMI's handler does not end

; What it stores, in this order.
	struc found
.eax:	resd 1
.ebx:	resd 1
.ecx:	resd 1
.edx:	resd 1
.esi:	resd 1
.edi:	resd 1
.ebp:	resd 1
.esp:	resd 1
.flags:	resd 1
.cs:	resd 1
.data:	resd 1		; DS, ES, FS, GS, SS, or'ed
.cr0:	resd 1
.cr2:	resd 1
.cr3:	resd 1
.cr4:	resd 1
.dr0:	resd 1		; DR0 to DR3, or'ed
.dr6:	resd 1
.dr7:	resd 1
.efer:	resd 1
.star:	resd 1
.idt:	resd 2
.gdt:	resd 2
	endstruc

; IS field, value: on the page at ebp.
%macro IS 2
	mov eax, [ebp + found_here - code + found.%1]
	EXPECT eax, %2
%endmacro

; SEND command: to the second one.
%macro SEND 1
	mov dword [APIC_ICR_HIGH], 1 << 24
	mov dword [APIC_ICR], %1
%endmacro

	GUEST
	FLAT_SEGMENTS
	mov dword [APIC_SVR], 0x1ff
	mov esi, code
	mov edi, START
	mov ecx, code_end - code
	rep movsb
	mov esi, code
	mov edi, START + 0x1000
	mov ecx, code_end - code
	rep movsb
	mov dword [8], START << 12 | (on_nmi - code)	; real mode's vector 2
	mov eax, 1
	cpuid
	mov [signature], eax

	SEND ICR_INIT
	SEND ICR_STARTUP | START >> 12
	mov ebp, START
	mov ecx, 1
	call expect_fresh
	IS cr0, CR0_CACHE | 0x10
	IS star, 0
	SAY "the first start"

	; To one that runs a STARTUP is nothing, nor is the end of an INIT.
	SEND ICR_STARTUP | (START + 0x1000) >> 12
	SEND ICR_DEASSERT
	call expect_beats
	mov eax, [STARTS]
	EXPECT eax, 1
	SAY "one that runs"

	; Two INITs, two STARTUPs of which the first one counts; to all others.
	mov dword [ORDER], SPOIL
	WAIT_FOR ORDER, 0
	mov dword [APIC_ICR], ICR_OTHERS | ICR_INIT
	call expect_no_beats
	SEND ICR_INIT
	mov dword [APIC_ICR], ICR_OTHERS | ICR_STARTUP | (START + 0x1000) >> 12
	mov dword [APIC_ICR], ICR_OTHERS | ICR_STARTUP | START >> 12
	mov ebp, START + 0x1000
	mov ecx, 2
	call expect_fresh
	IS cr0, 0x10		; CD and NW stay
	IS star, 0x12345678	; and so do most MSRs
	SAY "one that was in another mode"

	; One that halts; and an NMI before its STARTUP is lost, one after it is not.
	mov dword [ORDER], HALT
	WAIT_FOR ORDER, 0
	call expect_no_beats
	SEND ICR_INIT
	SEND ICR_NMI
	SEND ICR_STARTUP | START >> 12
	mov ebp, START
	mov ecx, 3
	call expect_fresh
	call expect_beats
	mov eax, [NMIS]
	EXPECT eax, 0
	SEND ICR_NMI
	WAIT_FOR NMIS, 1
	SAY "one that halted"

	; In an NMI's handler another one waits, which an INIT takes away; the next one comes again.
	; Bochs: a VM entry whose VMCS has NMIs not blocked leaves them blocked. Its SVM is right.
	xor eax, eax
	cpuid
	cmp ebx, "Genu"
	je .done
	mov dword [ORDER], IN_NMI
	WAIT_FOR ORDER, 0
	SEND ICR_NMI
	WAIT_FOR NMIS, 2
	SEND ICR_NMI
	call expect_beats
	mov eax, [NMIS]
	EXPECT eax, 2
	SEND ICR_INIT
	SEND ICR_STARTUP | START >> 12
	mov ebp, START
	mov ecx, 4
	call expect_fresh
	call expect_beats
	mov eax, [NMIS]
	EXPECT eax, 2
	SEND ICR_NMI
	WAIT_FOR NMIS, 3
	call expect_beats
	SAY "one in an NMI"
.done:
	SAY "INIT is right"
	EXIT EXIT_OK

; The start of that number, ecx, on that page, ebp.
expect_fresh:
	WAIT_FOR STARTS, ecx
	mov ebx, ebp
	shr ebx, 4
	IS cs, ebx
	mov ebx, [signature]
	IS edx, ebx
	IS eax, 0
	IS ebx, 0
	IS ecx, 0
	IS esi, 0
	IS edi, 0
	IS ebp, 0
	IS esp, 0
	IS flags, 2
	IS data, 0
	IS cr2, 0
	IS cr3, 0
	IS cr4, 0
	IS dr0, 0
	IS dr6, 0xffff0ff0
	IS dr7, 0x400
	IS efer, 0
	IS idt, 0xffff		; the limit, and half of the base
	IS idt + 4, 0
	IS gdt, 0xffff
	IS gdt + 4, 0
	ret

; It gets on.
expect_beats:
	mov eax, [BEATS]
	add eax, 100
.again:
	pause
	cmp [BEATS], eax
	jb .again
	ret

; It does not, for long enough.
expect_no_beats:
	WASTE 1000
	mov ebx, [BEATS]
	WASTE 1000
	mov eax, [BEATS]
	EXPECT eax, ebx
	ret

; --- the second one, in real mode: its page may be either ---

; TELL field, register
%macro TELL 2
	mov [cs:found_here - code + found.%1], %2
%endmacro

	bits 16
code:
	TELL eax, eax
	TELL ebx, ebx
	TELL ecx, ecx
	TELL edx, edx
	TELL esi, esi
	TELL edi, edi
	TELL ebp, ebp
	TELL esp, esp
	pushfd			; to the end of the first 64 KiB
	pop eax
	TELL flags, eax
	xor eax, eax
	mov ax, cs
	TELL cs, eax
	mov ax, ds
	mov bx, es
	or ax, bx
	mov bx, fs
	or ax, bx
	mov bx, gs
	or ax, bx
	mov bx, ss
	or ax, bx
	TELL data, eax
	mov eax, cr0
	TELL cr0, eax
	mov eax, cr2
	TELL cr2, eax
	mov eax, cr3
	TELL cr3, eax
	mov eax, cr4
	TELL cr4, eax
	mov eax, dr0
	mov ebx, dr1
	or eax, ebx
	mov ebx, dr2
	or eax, ebx
	mov ebx, dr3
	or eax, ebx
	TELL dr0, eax
	mov eax, dr6
	TELL dr6, eax
	mov eax, dr7
	TELL dr7, eax
	mov ecx, MSR_EFER
	rdmsr
	TELL efer, eax
	mov ecx, MSR_STAR
	rdmsr
	TELL star, eax
	sidt [cs:found_here - code + found.idt]
	sgdt [cs:found_here - code + found.gdt]
	; The bases of the other segments are 0.
	inc dword [STARTS]
	inc dword [es:BEATS]
	inc dword [fs:BEATS]
	inc dword [gs:BEATS]
	mov sp, STACK
.go_on:
	pause			; where a guest with interrupts off is left for these alone
	inc dword [ss:BEATS]
	mov eax, [ORDER]
	cmp al, SPOIL
	je spoil
	cmp al, HALT
	je rest
	cmp al, IN_NMI
	jne .go_on
	mov byte [cs:stays - code], 1
	mov dword [ORDER], 0
	jmp .go_on

rest:
	mov dword [ORDER], 0
	cli
	hlt
	jmp rest

on_nmi:
	inc dword [NMIS]
.here:
	pause
	inc dword [BEATS]
	cmp byte [cs:stays - code], 0
	jne .here
	iret

	align 4
found_here: times found_size db 0
stays:	db 0

; All that INIT is to undo: protected mode with paging, tables, debug registers, the caches on.
spoil:
	o32 lgdt [cs:gdtr_here - code]
	o32 lidt [cs:gdtr_here - code]
	mov eax, 0x12340000
	mov dr0, eax
	mov dr1, eax
	mov dr2, eax
	mov dr3, eax
	mov cr2, eax
	mov eax, 0x455
	mov dr7, eax
	mov eax, 0xffff4ff1
	mov dr6, eax
	mov ecx, MSR_STAR
	mov eax, 0x12345678
	xor edx, edx
	wrmsr
	mov ecx, MSR_EFER
	rdmsr
	or eax, 1		; SCE
	wrmsr
	mov eax, 0x610		; OSXMMEXCPT, OSFXSR, PSE
	mov cr4, eax
	mov eax, 0x11
	mov cr0, eax
	jmp dword 8:spoil32
gdtr_here:
	dw 23
	dd gdt
code_end:

	bits 32
spoil32:
	mov eax, 16
	mov ds, eax
	mov es, eax
	mov fs, eax
	mov gs, eax
	mov ss, eax
	mov dword [directory], 0x83
	mov eax, directory
	mov cr3, eax
	mov eax, 0x80010033	; PG, WP, NE, ET, MP, PE
	mov cr0, eax
	mov dword [ORDER], 0
	mov eax, 0x11111111
	mov ebx, eax
	mov ecx, eax
	mov edx, eax
	mov esi, eax
	mov edi, eax
	mov ebp, eax
	mov esp, 0x6000
	stc
	std
.here:
	pause
	jmp .here

	ROUTINES

	section .data
	FLAT_GDT

	section .bss
	alignb 4096
directory:
	resb 4096
signature: resd 1
