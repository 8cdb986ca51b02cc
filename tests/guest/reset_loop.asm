; Resets itself at once, for ever.
%include "guest.inc"

	GUEST
	mov dx, 0xcf9
	mov al, 6
	out dx, al
	hlt
