/* Which Umbra this is. */
#ifndef UMBRA_VERSION_H
#define UMBRA_VERSION_H

#define UMBRA_VERSION "0.1"

#endif
