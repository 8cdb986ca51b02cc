; The smallest guest that reports: a line, then the debug-exit port.
%include "guest.inc"
	GUEST
	SAY "hello from a tiny guest"
	EXIT EXIT_OK
	ROUTINES
