; A multiboot 2 kernel. Its header has the addresses to load it by and its entry: the ELF
; headers around it, which name another entry, must not count.
%include "guest.inc"
%include "multiboot.inc"
%define LENGTH header_end - header
	section .data
	align 16
	times 4096 db 0
stack_top:
	section .bss
zeros:	resd 1
ram_found: resd 1
bss_end:

	section .text
	bits 32
	align 8
	global start
header:
	dd 0xe85250d6, 0, LENGTH, -(0xe85250d6 + (LENGTH))
	dw 1, 0			; information request: command line, modules, memory map
	dd 20, 1, 3, 6
	align 8
	dw 2, 0			; addresses
	dd 24, header, header, data_end, bss_end
	dw 3, 0			; entry
	dd 12, entry
	align 8
	dw 6, 0			; modules on page boundaries
	dd 8
	dw 0x1234, 1		; not known, and optional
	dd 8
	dw 0, 0
	dd 8
header_end:

start:	ud2
entry:
	mov esp, stack_top
	mov ebp, ebx
	EXPECT eax, 0x36d76289
	EXPECT_STATE
	mov edx, [ebp]
	add edx, ebp		; where the information ends
	lea ebx, [ebp + 8]
.tag:
	mov eax, [ebx]
	cmp eax, 32
	jae .next
	push edx
	inc dword [seen + eax * 4]
	call [handlers + eax * 4]
	pop edx
	cmp dword [ebx], 0
	je .end
.next:
	mov eax, [ebx + 4]
	add eax, 7
	and eax, -8
	add ebx, eax
	cmp ebx, edx
	jb .tag
	EXPECT ebx, edx
.end:
	add ebx, 8
	EXPECT ebx, edx
	mov ecx, [seen + 1 * 4]
	EXPECT ecx, 1
	mov ecx, [seen + 2 * 4]
	EXPECT ecx, 1
	mov ecx, [seen + 3 * 4]
	EXPECT ecx, 2
	mov ecx, [seen + 4 * 4]
	EXPECT ecx, 1
	mov ecx, [seen + 6 * 4]
	EXPECT ecx, 1
	mov ecx, [seen + 14 * 4]
	add ecx, [seen + 15 * 4]
	EXPECT ecx, 1
	mov ecx, [ram_found]
	EXPECT ecx, 1
	SAY "multiboot 2: all as it should be"
	EXIT EXIT_OK

ignore:	ret

line:	lea eax, [ebx + 8]
	TEXT eax, "line of the kernel"
	ret

loader:	lea eax, [ebx + 8]
	TEXT eax, "Umbra"
	ret

module:	mov eax, [ebx + 8]
	mov edx, [ebx + 12]
	lea ecx, [ebx + 16]
	cmp dword [seen + 3 * 4], 1
	jne .two
	push eax
	TEXT ecx, "first one"
	pop eax
	jmp module_one
.two:
	push eax
	TEXT ecx, ""
	pop eax
	jmp module_two

memory:	mov ecx, [ebx + 8]
	EXPECT ecx, 639
	mov ecx, [ebx + 12]
	EXPECT ecx, (MEMORY - 0x100000) / 1024
	ret

mmap:	lea esi, [ebx + 16]
	mov edx, [ebx + 4]
	add edx, ebx
.next:
	push edx
	call mmap_entry
	pop edx
	add esi, [ebx + 8]
	cmp esi, edx
	jb .next
	EXPECT esi, edx
	ret

acpi:	mov ecx, [ebx + 8]
	EXPECT ecx, 0x20445352	; "RSD PTR "
	mov ecx, [ebx + 12]
	EXPECT ecx, 0x20525450
	ret

	MULTIBOOT_ROUTINES
	ROUTINES
	section .data
	align 4
seen:	times 32 dd 0
handlers:
	dd ignore, line, loader, module, memory, ignore, mmap
	times 7 dd ignore
	dd acpi, acpi
	times 16 dd ignore
	section .rodata
data_end:
