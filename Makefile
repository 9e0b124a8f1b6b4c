# hpsae: targets
#   make               build the program, bin/hpsae
#   make demo          the main job on the real sample in data/: shuffle, train, evaluate, export, plot (3 minutes)
#   make reproduce-small   what five papers compare, trained small and judged: runs/reproduce-small/REPORT.md
#   make nightly-small     sweep, objectives, ensembles, scaling laws against the last good night: runs/nightly
#   make check         build, then run every test
#   make check-slurm   the tests in a Slurm of four hosts that they start here (part of check; needs root, else skipped)
#   make check-asan    the same under the address and undefined-behaviour sanitizers
#   make check-valgrind    the compiled tests under valgrind
#   make lint          formatting, clang-tidy, cppcheck, layering, shell and Python scripts
#   make format        rewrite the sources as .clang-format says
#   make setup         see to the packages: installs them (Debian, root or sudo), else says what is missing
#   make info          compiler, flags and libraries of this build
#   make install       to $(prefix), default /usr/local; honours DESTDIR
#   make clean         remove what was built
#   make help          this text
# Settings, on the command line or kept in a file config.mk (NAME := value, one a line):
#   MODE=release|debug|asan   BUILD=directory   V=1 (show commands)   CC=mpicc   PYTHON=/usr/bin/python3
#   TESTS="tests/test_x.c ..." (only these)     JOBS=3 (scripts at a time)     MPIRUN="mpirun options"
#   reproduce-small: DATA=STORE  TEST=STORE  GRADIENTS=STORE  OUT=directory  STEPS=N  SEEDS=1,2,3  MINUTES=N
#   nightly-small: DATA=STORE  GRADIENTS=STORE  CONFIG=SWEEP.yaml  OUT=directory  NIGHT=name  MINUTES=N
#   CUDA=0|1 (default: 1 where nvcc is found)   CUDA_HOME=directory of the CUDA toolkit (else from the PATH)
#   HDF5_DIR OPENBLAS_DIR LIBYAML_DIR JANSSON_DIR RANDOM123_DIR: where a module system has them (else pkg-config)
#   SCALAPACK_LIBS: how it links ScaLAPACK

-include config.mk

# ---- settings -----------------------------------------------------------------------------------------------------
ifeq ($(origin CC),default)
CC     := mpicc
endif
MODE   ?= release
BUILD  ?= build
B      := $(BUILD)/$(MODE)
PYTHON ?= /usr/bin/python3
MPIRUN ?= mpirun
prefix ?= /usr/local
ARCH   := $(shell uname -m)

OPT.release := -O3 -g -fno-math-errno -fno-trapping-math
OPT.debug   := -O1 -g -fno-omit-frame-pointer
OPT.asan    := $(OPT.debug) -fsanitize=address,undefined -fno-sanitize-recover=undefined
OPT    ?= $(OPT.$(MODE))
WARN   := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla
# Rounding is part of the interface: the compiler may not fuse a*b+c on its own, kernels call fma where they mean it.
flags   = -Iinclude -D_GNU_SOURCE $(deps.cppflags) $(CPPFLAGS) -std=c11 -ffp-contract=off -fopenmp $(OPT) $(WARN) $(CFLAGS)
libs    = $(OPT) -fopenmp $(LDFLAGS) $(deps.ldlibs) $(LDLIBS) $(cuda.libs) -lm
export CC PYTHON MPIRUN HDF5_DIR OPENBLAS_DIR SCALAPACK_LIBS LIBYAML_DIR JANSSON_DIR RANDOM123_DIR

# ---- packages -----------------------------------------------------------------------------------------------------
# scripts/setup.sh finds the libraries and writes their flags here.  Only the goals that should may install packages.
needs    := $(filter-out help clean,$(or $(MAKECMDGOALS),all))
installs := $(if $(filter check check-slurm check-asan check-valgrind demo %-small lint setup,$(needs)),--install)
groups   := build $(if $(filter check% demo %-small setup,$(needs)),test) $(if $(filter lint setup,$(needs)),lint) \
            $(if $(filter check-valgrind setup,$(needs)),valgrind)
deps.now := $(strip $(CC) $(OMPI_CC) $(HDF5_DIR) $(OPENBLAS_DIR) $(SCALAPACK_LIBS) $(LIBYAML_DIR) $(JANSSON_DIR) $(RANDOM123_DIR))
ifneq ($(needs),)
include $(BUILD)/deps.mk
ifneq ($(deps.found_by),$(deps.now))
$(BUILD)/deps.mk: FORCE
endif
endif

$(BUILD)/deps.mk: scripts/setup.sh
	@mkdir -p $(@D) && scripts/setup.sh $(installs) --write $@ --found-by '$(deps.now)' $(groups)

# Slurm is installed where that is allowed; where it is not, its tests are skipped and say so.
$(BUILD)/setup.slurm: scripts/setup.sh $(BUILD)/deps.mk
	@scripts/setup.sh --install slurm > $(BUILD)/setup.slurm.log 2>&1 || true; touch $@

$(BUILD)/setup.%: scripts/setup.sh $(BUILD)/deps.mk
	@scripts/setup.sh --install $* && touch $@

# ---- what there is ------------------------------------------------------------------------------------------------
# The kernels are compiled once for each instruction set that a CPU may have; the program chooses at start.
isas.x86_64 := avx2 avx512
fast.x86_64 := avx512vnni avx512bf16 amx
isas    := portable $(isas.$(ARCH))
ISA.avx2       := -mavx2 -mfma -mf16c
ISA.avx512     := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mprefer-vector-width=512
ISA.avx512vnni := $(ISA.avx512) -mavx512vnni
ISA.avx512bf16 := $(ISA.avx512) -mavx512bf16
ISA.amx        := $(ISA.avx512bf16) -mamx-tile -mamx-bf16

# ---- GPUs: the CUDA kernels, where there is nvcc; without it, or with CUDA=0, the program has the others alone.  The CUDA
# runtime is linked statically, the driver is looked for at run time.  NVCC_ARCH: compute capabilities, of those the
# toolkit knows.
NVCC      ?= $(firstword $(wildcard $(addsuffix /bin/nvcc,$(CUDA_HOME))) $(shell command -v nvcc 2>/dev/null))
CUDA      ?= $(if $(NVCC),1,0)
NVCC_ARCH ?= $(filter 70 75 80 90a,$(shell $(NVCC) --list-gpu-code 2>/dev/null | sed 's/sm_//;s/^90$$/90a/'))
ifeq ($(CUDA),1)
ifeq ($(NVCC),)
$(error CUDA=1, but there is no nvcc: put it on the PATH, set CUDA_HOME, or say CUDA=0)
endif
cuda.root := $(abspath $(dir $(realpath $(NVCC)))..)
cuda.lib  := $(firstword $(wildcard $(cuda.root)/lib64 $(cuda.root)/targets/*/lib $(cuda.root)/lib))
cuda      := $(wildcard src/kernels/cuda/*.cu)
cuda.libs := $(cuda.lib)/libcudart_static.a -ldl -lrt -lpthread
cuda.mpi  := $(filter -I%,$(shell $(CC) -showme:compile 2>/dev/null || $(CC) -compile_info 2>/dev/null))
# Rounding as everywhere: no contraction, division and square root correctly rounded, denormals kept.
nvcc.flags = -std=c++20 -O3 -fmad=false -prec-div=true -prec-sqrt=true -ftz=false -Iinclude $(cuda.mpi) \
             -DOMPI_SKIP_MPICXX -D_GNU_SOURCE -Xcompiler -ffp-contract=off,-fno-exceptions,-fno-threadsafe-statics,-Wall \
             $(foreach a,$(NVCC_ARCH),-gencode arch=compute_$a,code=sm_$a) $(NVCC_FLAGS)
$B/src/kernels/choose.o: private CPPFLAGS += -DHPS_CUDA
endif

ref     := $(wildcard src/kernels/ref/*.c)
fast    := $(wildcard src/kernels/fast/*.c)
sources := $(filter-out src/cmd/main.c,$(wildcard src/*/*.c))
objects := $(sources:%.c=$B/%.o) $(foreach i,$(isas),$(ref:%.c=$B/$i/%.o)) \
           $(foreach i,$(isas) $(fast.$(ARCH)),$(fast:%.c=$B/$i/%.o)) $(cuda:%.cu=$B/%.o)
library := $B/libhpsae.a
program := $(if $(wildcard src/cmd/main.c),$B/hpsae)
shown   := $(if $(filter build/release,$B),$(program:$B/%=bin/%))

in_slurm := $(wildcard tests/slurm/test_*.py)
TESTS   ?= $(wildcard tests/test_*.c tests/test_*.py tests/test_*.sh) $(if $(filter release,$(MODE)),$(in_slurm))
tests   := $(patsubst tests/%.c,$B/tests/%,$(filter %.c,$(TESTS)))
scripts := $(filter-out %.c,$(TESTS))
JOBS    ?= 3

.PHONY: all help setup demo reproduce-small nightly-small check check-slurm check-asan check-valgrind tests lint format info install clean FORCE
.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

# ---- build --------------------------------------------------------------------------------------------------------
all: $(library) $(program) $(shown)

# $(call do,WORD,COMMAND): says WORD and the target, or with V=1 the command.
do = $(if $(V),,@printf '  %-5s %s\n' '$(1)' '$@'; )mkdir -p $(@D) && $(2)
compile = $(call do,CC,$(CC) $(flags) $(1) -MMD -MP -c -o $@ $<)
# $(call same,TEXT): the target becomes TEXT, touched only when that changes something.
same = @mkdir -p $(@D); printf '%s\n' '$(1)' | cmp -s - $@ || printf '%s\n' '$(1)' > $@

$B/flags: FORCE
	$(call same,$(CC) $(OMPI_CC) $(flags) $(libs) $(foreach i,$(isas) $(fast.$(ARCH)),$(ISA.$i)))

$B/version: FORCE
	$(call same,$(shell git describe --always --dirty --tags 2>/dev/null || echo unversioned))

$B/%.o: %.c $B/flags
	$(call compile)

$B/cuda.flags: FORCE
	$(call same,$(NVCC) $(nvcc.flags))

$B/%.o: %.cu $B/cuda.flags
	$(call do,NVCC,$(NVCC) $(nvcc.flags) -MMD -MP -c -o $@ $<)

$B/src/base/build.o: private CPPFLAGS += -DHPS_BUILD_DESCRIBE='"$(shell cat $B/version)"' -DHPS_BUILD_FLAGS='"$(MODE): $(OPT)"'
$B/src/base/build.o: $B/version

define isa_rule
$B/$(1)/%.o: %.c $B/flags
	$$(call compile,$$(ISA.$(1)) -DHPS_ISA=$(1))
endef
$(foreach i,$(isas) $(fast.$(ARCH)),$(eval $(call isa_rule,$i)))

$(library): $(objects)
	$(call do,AR,$(RM) $@ && $(AR) rcs $@ $^)

$B/hpsae: $B/src/cmd/main.o $(library)
	$(call do,LINK,$(CC) -o $@ $^ $(libs))

bin/hpsae: $B/hpsae
	$(call do,COPY,cp $< $@)

$B/tests/%: tests/%.c $(library) $B/flags
	$(call do,TEST,$(CC) $(flags) -Itests -MMD -MP -o $@ $< $(library) $(libs))

-include $(objects:.o=.d) $(program:%hpsae=%src/cmd/main.d) $(tests:=.d)

# ---- test ---------------------------------------------------------------------------------------------------------
# A compiled test says in its head comment on how many ranks it runs: "ranks: 1 2 3".
ranks_of = $(shell sed -n 's/^ \* ranks: //p' tests/$(notdir $(1)).c)
runs     = $(foreach t,$(tests),$(foreach n,$(call ranks_of,$(t)),$(t)@$(n)))

# Scripts run JOBS at a time; then what needs the machine for itself: compiled tests, scripts in a Slurm, and those whose head
# says "alone: WHY".
alone    = $(shell grep -l '^. alone: ' $(scripts) /dev/null)
together = $(filter-out $(alone) tests/slurm/%,$(scripts))
empty   :=
comma   := ,
rules    = $(if $(together),--jobs $(JOBS) --rules 'par={$(subst $(empty) $(empty),$(comma),$(together))}')
prove    = HPSAE='$(abspath $B/hpsae)' prove $(rules) $(PROVE_FLAGS) --exec tests/run

tests: $(tests)

check: all tests $(BUILD)/setup.test $(if $(filter tests/slurm/%,$(TESTS)),$(BUILD)/setup.slurm)
	@$(prove) $(runs) $(scripts)

check-slurm: all $(BUILD)/setup.test $(BUILD)/setup.slurm
	@$(MAKE) --no-print-directory TESTS='$(in_slurm)' check

# Open MPI keeps memory that its unloaded modules allocated: full stack traces are needed to tell it from our leaks.  The
# leak checker of gcc 12 falls over the thread-local storage of modules that are gone, unless it is told not to follow it.
check-asan:
	@ASAN_OPTIONS=fast_unwind_on_malloc=0:detect_leaks=1:allocator_may_return_null=1:intercept_tls_get_addr=0 TEST_SLOWER=5 \
	 UBSAN_OPTIONS=print_stacktrace=1 \
	 LSAN_OPTIONS=suppressions=$(CURDIR)/tests/lsan.supp:print_suppressions=0 $(MAKE) --no-print-directory MODE=asan check

# Valgrind 3.19 knows no AVX-512: OpenBLAS is told to stay below it, our kernels see a CPU without it.
check-valgrind: $(BUILD)/setup.valgrind
	@$(MAKE) --no-print-directory MODE=debug valgrind-runs

valgrind = valgrind --quiet --error-exitcode=9 --leak-check=full --num-callers=40 --suppressions=$(CURDIR)/tests/valgrind.supp
valgrind-runs: all tests $(BUILD)/setup.test
	@OPENBLAS_CORETYPE=Haswell TEST_QUICK=1 TEST_SLOWER=20 TEST_WRAPPER='$(valgrind)' $(prove) $(filter %@1 %@2 %@3,$(runs))

demo: all $(BUILD)/setup.test
	@HPSAE='$(abspath $B/hpsae)' scripts/demo.sh

# Their settings are the scripts' options: DATA becomes --data and so on.
reproduce = DATA TEST GRADIENTS OUT STEPS SEEDS MINUTES
nightly   = DATA GRADIENTS CONFIG OUT NIGHT MINUTES
lower     = $(shell printf %s '$(1)' | tr A-Z a-z)
options   = $(foreach o,$(1),$(if $($o),--$(call lower,$o) '$($o)'))
reproduce-small nightly-small: %-small: all $(BUILD)/setup.test
	@HPSAE='$(abspath $B/hpsae)' $(PYTHON) analysis/$*.py $(call options,$($*))

# ---- upkeep -------------------------------------------------------------------------------------------------------
setup: $(BUILD)/setup.test $(BUILD)/setup.lint $(BUILD)/setup.valgrind

lint: $(BUILD)/setup.lint
	@LINT_FLAGS='$(flags)' LINT_CACHE=$(BUILD)/lint scripts/lint.sh

format: $(BUILD)/setup.lint
	clang-format -i $(shell git ls-files '*.c' '*.h')

info: all
	@printf '%-9s %s\n' version '$(shell cat $B/version)' compiler '$(shell $(CC) --version | head -n 1)' \
	   flags '$(flags)' libraries '$(libs)' python '$(PYTHON)'
	@$(if $(program),$(program) --version)

install: all
	install -d $(DESTDIR)$(prefix)/bin $(DESTDIR)$(prefix)/share/hpsae
	install -m 755 $(program) $(DESTDIR)$(prefix)/bin/hpsae
	cp -R configs analysis jobs $(DESTDIR)$(prefix)/share/hpsae/

clean:
	$(RM) -r $(BUILD) bin

help:
	@sed -n '1,/^$$/s/^# \{0,1\}//p' Makefile
