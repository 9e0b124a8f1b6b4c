# make              build the program, bin/hpsae

-include config.mk

# ---- settings -------------------------------------------------------------
ifeq ($(origin CC),default)
CC     := mpicc
endif
MODE   ?= release
BUILD  ?= build
B      := $(BUILD)/$(MODE)
prefix ?= /usr/local
ARCH   := $(shell uname -m)

OPT.release := -O3 -g -fno-math-errno -fno-trapping-math
OPT.debug   := -O1 -g -fno-omit-frame-pointer
OPT.asan    := $(OPT.debug) -fsanitize=address,undefined -fno-sanitize-recover=undefined
OPT    ?= $(OPT.$(MODE))
WARN   := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla

PACKAGES := hdf5-openmpi yaml-0.1 jansson openblas
CPPFLAGS += -Iinclude -D_GNU_SOURCE $(shell pkg-config --cflags $(PACKAGES))
# Rounding is part of the interface: the compiler may not fuse a*b+c on its own, kernels call fma where they mean it.
CFLAGS   += -std=c11 -ffp-contract=off -fopenmp $(OPT) $(WARN) -MMD -MP
LDFLAGS  += $(OPT) -fopenmp
LDLIBS   += $(shell pkg-config --libs $(PACKAGES)) -lm

# ---- what there is --------------------------------------------------------
# The reference kernels are compiled once for each instruction set that a CPU may have; the program chooses at start.
isas.x86_64 := avx2 avx512
isas    := base $(isas.$(ARCH))
ISA.avx2   := -mavx2 -mfma -mf16c
ISA.avx512 := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mprefer-vector-width=512

ref     := $(wildcard src/kernels/ref/*.c)
sources := $(filter-out src/cmd/main.c,$(wildcard src/*/*.c src/kernels/blas/*.c))
objects := $(sources:%.c=$B/%.o) $(foreach i,$(isas),$(ref:%.c=$B/$i/%.o))
library := $B/libhpsae.a
tests   := $(patsubst tests/%.c,$B/tests/%,$(wildcard tests/test_*.c))

.PHONY: all check tests
.SUFFIXES:
.DELETE_ON_ERROR:

all: $(library)

$(library): $(objects)
	$(RM) $@ && $(AR) rcs $@ $^

$B/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

define isa_rule
$B/$(1)/%.o: %.c
	@mkdir -p $$(@D)
	$$(CC) $$(CPPFLAGS) $$(CFLAGS) $$(ISA.$(1)) -DHPS_ISA=$(1) -c -o $$@ $$<
endef
$(foreach i,$(isas),$(eval $(call isa_rule,$i)))

$B/tests/%: tests/%.c $(library)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Itests $(CFLAGS) $(LDFLAGS) -o $@ $< $(library) $(LDLIBS)

tests: $(tests)

# A test says in its head comment on how many ranks it runs: "ranks: 1 2 3".
ranks_of = $(shell sed -n 's/^ \* ranks: //p' tests/$(notdir $(1)).c)
runs     = $(foreach t,$(tests),$(foreach n,$(call ranks_of,$(t)),$(t)@$(n)))

check: $(tests)
	prove --exec tests/run $(runs)

-include $(objects:.o=.d) $(tests:=.d)
