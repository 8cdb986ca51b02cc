; A file at 1 GiB, a page of it at a time: read, run, written, walked by the processor as page
; tables, used by instructions that Umbra does. Two guests have the same file; each writes its
; own letter, the first of its command line, and must never see the other's.
;
; The file, made by the boot test: the dwords of page p are 0x5a5a0000 + p, but
;   page 2 begins with  mov eax, 0x600d; ret
;   page 4 is a page directory: 4 MiB pages, the first and the one at 1 GiB to themselves
;   page 5 begins with a line of text that ends in 10, 0
;   page 12 ends after 100 bytes
%include "guest.inc"
%define DISK	0x40000000
%define PAGE(n)	(DISK + (n) * 4096)
%define LAST	12
	GUEST
	mov esi, [ebx + 24]	; hvm_start_info: the command line
	movzx ebp, byte [esi]

	; Any order: the last page first, whose end is not the file's but zero.
	mov eax, [PAGE(LAST) + 96]
	EXPECT eax, 0x5a5a0000 + LAST
	mov eax, [PAGE(LAST) + 100]
	EXPECT eax, 0
	mov eax, [PAGE(LAST) + 4092]
	EXPECT eax, 0
	mov eax, [PAGE(0)]
	EXPECT eax, 0x5a5a0000
	mov eax, [PAGE(7) - 2]	; from two pages that are both new
	EXPECT eax, 0x00075a5a

	; Beyond the region there is nothing.
	mov eax, [PAGE(LAST + 1)]
	EXPECT eax, 0xffffffff

	; The first access to a page: execution, a write, a read and write, a write by Umbra.
	mov edx, PAGE(2)
	call edx
	EXPECT eax, 0x600d
	mov [PAGE(3) + 8], ebp
	mov eax, [PAGE(3) + 8]
	EXPECT eax, ebp
	mov eax, [PAGE(3) + 4]
	EXPECT eax, 0x5a5a0003
	lock xadd [PAGE(8)], ebp
	EXPECT ebp, 0x5a5a0008
	mov ebp, [PAGE(3) + 8]
	mov edx, COM1 + 7	; the scratch register
	mov al, 0x3c
	out dx, al
	mov edi, PAGE(9)
	insb
	mov eax, [PAGE(9)]
	EXPECT eax, 0x5a5a003c

	; Umbra reads: a string output from a page that is new.
	mov esi, PAGE(5)
.text:
	mov edx, COM1
	outsb
	call wait_serial
	cmp byte [esi], 0
	jne .text

	; The processor's walk, and its accessed bits.
	mov eax, cr4
	or eax, 0x10		; PSE
	mov cr4, eax
	mov eax, PAGE(4)
	mov cr3, eax
	mov eax, cr0
	or eax, 0x80000000
	mov cr0, eax
	mov eax, [PAGE(10)]
	EXPECT eax, 0x5a5a000a
	mov eax, [PAGE(4) + 0x400]
	and eax, 0xa3
	EXPECT eax, 0xa3
	mov eax, cr0
	and eax, 0x7fffffff
	mov cr0, eax

	; For as long as the other one needs to do the same: nothing of it is seen here.
	mov edi, 300
.round:
	mov eax, [PAGE(3) + 8]
	EXPECT eax, ebp
	mov eax, [PAGE(1)]
	EXPECT eax, 0x5a5a0001
	mov ecx, 100000
.spin:
	loop .spin
	dec edi
	jnz .round
	SAY "the disk region is right"
	EXIT EXIT_OK

wait_serial:
	mov edx, COM1 + 5
.wait:
	in al, dx
	test al, 0x20
	jz .wait
	ret
	ROUTINES
