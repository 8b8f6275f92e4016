# rec-stt: `make` builds, `make check` tests, `make install` installs. `make help` lists the rest.
PREFIX ?= /usr/local
LIBEXECDIR = $(PREFIX)/libexec/rec-stt
CC ?= cc
BUILD ?= build
EMBED_MODEL ?= models/rec-stt-default-en.gguf

WARN = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wvla -Werror
CFLAGS ?= -O2 -g
ALL_CFLAGS = -std=gnu11 $(WARN) -Isrc -DRS_LIBEXECDIR='"$(LIBEXECDIR)"' -D_GNU_SOURCE -fno-math-errno -ffp-contract=fast \
             $(HARDEN) $(SANITIZE) $(CFLAGS)
HARDEN ?= -fPIE -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fcf-protection
LDFLAGS_HARDEN ?= -pie -Wl,-z,relro,-z,now,-z,noexecstack

# Static wherever Debian ships an archive; libasound stays shared because it loads plugins, libc because
# of them; libsndfile and libyaml pull their codecs and stay as pkg-config gives them.
MULTIARCH := $(shell $(CC) -print-multiarch 2>/dev/null)
LIBDIR_SYS = /usr/lib/$(MULTIARCH)
static = $(firstword $(wildcard $(1)) $(2))
LIBS = $(call static,$(LIBDIR_SYS)/openblas-serial/libopenblas.a,-lopenblas) \
       $(call static,$(LIBDIR_SYS)/libfftw3f.a,-lfftw3f) \
       $(call static,$(LIBDIR_SYS)/libsamplerate.a,-lsamplerate) \
       $(call static,$(LIBDIR_SYS)/libjansson.a,-ljansson) \
       $(call static,$(LIBDIR_SYS)/libyaml.a,-lyaml) \
       $(call static,$(LIBDIR_SYS)/libz.a,-lz) \
       -lsndfile -lasound -lpthread -lm

SRC := $(sort $(wildcard src/*/*.c))
# Instruction-set files: NAME_avx2.c and so on get their own flags and are built on their architecture only.
ARCH := $(shell $(CC) -dumpmachine 2>/dev/null | cut -d- -f1)
X86_SRC := $(filter %_avx2.c %_avxvnni.c %_avx512.c %_vnni.c %_amx.c,$(SRC))
ARM_SRC := $(filter %_neon.c %_dotprod.c %_i8mm.c,$(SRC))
ifeq ($(ARCH),x86_64)
SRC := $(filter-out $(ARM_SRC),$(SRC))
else ifeq ($(ARCH),aarch64)
SRC := $(filter-out $(X86_SRC),$(SRC))
else
SRC := $(filter-out $(X86_SRC) $(ARM_SRC),$(SRC))
endif
OBJ := $(SRC:src/%.c=$(BUILD)/%.o)

all: rec-stt

rec-stt: $(BUILD)/main.o $(BUILD)/librec-stt.a
	$(CC) $(ALL_CFLAGS) $(LDFLAGS_HARDEN) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/librec-stt.a: $(OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/%_avx2.o: ISA = -mavx2 -mfma -mf16c
$(BUILD)/%_avxvnni.o: ISA = -mavx2 -mfma -mf16c -mavxvnni
$(BUILD)/%_avx512.o: ISA = -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -mf16c
$(BUILD)/%_vnni.o: ISA = -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mfma -mf16c
$(BUILD)/%_amx.o: ISA = -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx512bf16 -mamx-tile -mamx-int8 -mamx-bf16 -mfma -mf16c
$(BUILD)/%_dotprod.o: ISA = -march=armv8.2-a+dotprod
$(BUILD)/%_i8mm.o: ISA = -march=armv8.2-a+dotprod+i8mm

$(BUILD)/%.o: src/%.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(ISA) -MMD -MP -c -o $@ $<

-include $(OBJ:.o=.d) $(BUILD)/main.d

# Tests: every tests/unit/test_*.c is a program of its own; see tests/run.
UNIT := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_*.c))
$(BUILD)/tests/%: tests/unit/%.c $(BUILD)/librec-stt.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -Itests/unit $(LDFLAGS) -o $@ $< $(BUILD)/librec-stt.a $(LIBS)

unit: $(UNIT)

check: rec-stt unit
	tests/run $(BUILD)/tests

check-asan:
	$(MAKE) BUILD=build/asan SANITIZE="-fsanitize=address,undefined -fno-sanitize-recover=undefined" CFLAGS="-O1 -g" HARDEN=-fPIE rec-stt-asan

clean:
	rm -rf build rec-stt

.PHONY: all unit check check-asan clean
