/* Is memory that this guest sees another one's? */
#include "tests/guest/hostile/hostile.h"

/* The witness' pattern: this word, then its own address; not to be found in this program. */
static volatile uint32_t mark_inverted = ~UINT32_C(0x5afe1e55);

/* What frame_free() leaves in a debug build. */
static volatile uint64_t poison_inverted = ~UINT64_C(0xdfdfdfdfdfdfdfdf);

static bool is_foreign(uint64_t word)
{
	uint64_t at = word >> 32;

	return word == ~poison_inverted ||
	       ((uint32_t)word == ~mark_inverted && at % 8 == 0 && at < 0x10000000);
}

void look_at(const volatile void *page, uint64_t pa)
{
	const volatile uint64_t *word = page;

	for (unsigned i = 0; i < PAGE / 8; i += 61) {
		uint64_t now = word[i];

		if (!is_foreign(now))
			continue;
		put_text("hostile: FOREIGN memory at ");
		put_hex(pa + i * 8);
		put_text(": ");
		put_hex(now);
		put_text("\n");
		return;
	}
}
