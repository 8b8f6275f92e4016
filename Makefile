# rec-stt: `make` builds, `make check` tests, `make install` installs, `make help` lists the rest.
PREFIX ?= /usr/local
LIBEXECDIR = $(PREFIX)/libexec/rec-stt
DATADIR = $(PREFIX)/share
# Where zsh looks: Debian's packages go to /usr/share/zsh/vendor-completions instead (debian/rules).
ZSHDIR ?= $(DATADIR)/zsh/site-functions
CC ?= cc
BUILD ?= build
BIN ?= rec-stt
# Linked in where the files are there; `make EMBED_MODEL= EMBED_VAD=` leaves them out.
EMBED_MODEL ?= models/rec-stt-default-en.gguf
EMBED_VAD ?= models/rec-stt-vad.gguf
VERSION := $(shell sed -n 's/.*RS_VERSION "\(.*\)".*/\1/p' src/cmd/cmd.h)
MULTIARCH := $(shell $(CC) -print-multiarch 2>/dev/null)
ARCH := $(shell $(CC) -dumpmachine 2>/dev/null | cut -d- -f1)

# Strict C, no machine's own instructions (those are chosen at run time), no path of this machine in the result.
WARN = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wvla -Werror
CFLAGS ?= -O2 -g
CONTROL_FLOW_x86_64 = -fcf-protection
CONTROL_FLOW_aarch64 = -mbranch-protection=standard
HARDEN ?= -fPIE -fstack-protector-strong -fstack-clash-protection -D_FORTIFY_SOURCE=2 $(CONTROL_FLOW_$(ARCH))
LDFLAGS_HARDEN ?= -pie -Wl,-z,relro,-z,now,-z,noexecstack
ALL_CFLAGS = -std=gnu11 $(WARN) -Isrc -DRS_LIBEXECDIR='"$(LIBEXECDIR)"' -D_GNU_SOURCE -fno-math-errno -ffp-contract=fast \
             -ffile-prefix-map='$(CURDIR)=.' $(HARDEN) $(SANITIZE) $(CFLAGS)

# Static wherever Debian ships an archive (of libsamplerate it ships none); libasound stays shared because it
# loads plugins, libc because of them, libsndfile because of its codecs.
LIBDIR_SYS = /usr/lib/$(MULTIARCH)
static = $(firstword $(wildcard $(1)) $(2))
LIBS = $(call static,$(LIBDIR_SYS)/openblas-serial/libopenblas.a,-lopenblas) \
       $(call static,$(LIBDIR_SYS)/libfftw3.a,-lfftw3) \
       $(call static,$(LIBDIR_SYS)/libsamplerate.a,-lsamplerate) \
       $(call static,$(LIBDIR_SYS)/libjansson.a,-ljansson) \
       $(call static,$(LIBDIR_SYS)/libyaml.a,-lyaml) \
       $(call static,$(LIBDIR_SYS)/libz.a,-lz) \
       -lsndfile -lasound -lpthread -lm

SRC := $(sort $(wildcard src/*/*.c))
# Instruction-set files: NAME_avx2.c and so on get their own flags and are built on their architecture only.
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

all: $(BIN)

$(BIN): $(BUILD)/main.o $(BUILD)/librec-stt.a
	$(CC) $(ALL_CFLAGS) $(LDFLAGS_HARDEN) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/librec-stt.a: $(OBJ)
	@rm -f $@
	$(AR) rcsD $@ $^

$(BUILD)/%_avx2.o: ISA = -mavx2 -mfma -mf16c
$(BUILD)/%_avxvnni.o: ISA = -mavx2 -mfma -mf16c -mavxvnni
$(BUILD)/%_avx512.o: ISA = -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -mf16c
$(BUILD)/%_vnni.o: ISA = -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mfma -mf16c
$(BUILD)/%_amx.o: ISA = -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx512bf16 -mamx-tile -mamx-int8 -mamx-bf16 -mfma -mf16c
$(BUILD)/%_dotprod.o: ISA = -march=armv8.2-a+dotprod
$(BUILD)/%_i8mm.o: ISA = -march=armv8.2-a+dotprod+i8mm

EMBEDDED := $(wildcard $(EMBED_MODEL) $(EMBED_VAD))
embed = $(if $(wildcard $(2)),-DRS_EMBED_$(1)='"$(2)"' -DRS_EMBED_$(1)_NAME='"$(basename $(notdir $(2)))"' \
    -DRS_EMBED_$(1)_ID=0x$(shell sha256sum $(2) | cut -c1-16)u)
$(BUILD)/model/embedded.o: ISA = $(call embed,MODEL,$(EMBED_MODEL)) $(call embed,VAD,$(EMBED_VAD))
$(BUILD)/model/embedded.o: $(EMBEDDED) $(BUILD)/embedded-names

# What a command line may change and the sources do not tell: written anew when it is another than the last time.
remember = @mkdir -p $(@D); printf '%s\n' '$(1)' | cmp -s - $@ || printf '%s\n' '$(1)' >$@
$(BUILD)/embedded-names: FORCE
	$(call remember,$(if $(EMBEDDED),$(shell stat -c "%n %s %Y" $(EMBEDDED))))
$(BUILD)/libexecdir: FORCE
	$(call remember,$(LIBEXECDIR))
$(BUILD)/main.o: $(BUILD)/libexecdir
FORCE:

$(BUILD)/%.o: src/%.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(ISA) -MMD -MP -c -o $@ $<

-include $(OBJ:.o=.d) $(BUILD)/main.d

# Tests: every tests/unit/test_*.c is a program of its own, every tests/*/*.test a script that runs $REC_STT.
UNIT := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_*.c))
$(BUILD)/tests/%: tests/unit/%.c $(BUILD)/librec-stt.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -Itests/unit $(LDFLAGS) -o $@ $< $(BUILD)/librec-stt.a $(LIBS)

# Helpers of the scripts: tests/lib/NAME.c is a program, tests/lib/NAME.so.c a library to preload.
HELPERS := $(patsubst tests/lib/%.c,$(BUILD)/lib/%,$(filter-out %.so.c,$(wildcard tests/lib/*.c)))
PRELOADS := $(patsubst tests/lib/%.so.c,$(BUILD)/lib/%.so,$(wildcard tests/lib/*.so.c))
$(BUILD)/lib/%.so: tests/lib/%.so.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 $(WARN) -D_GNU_SOURCE -O1 -g -fPIC -shared -o $@ $< -ldl -lpthread

$(BUILD)/lib/%: tests/lib/%.c $(BUILD)/librec-stt.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $< $(BUILD)/librec-stt.a $(LIBS)

unit: $(UNIT) $(HELPERS) $(PRELOADS)

# ONLY="record transcribe": only the scripts of these folders of tests/.
check: $(BIN) $(if $(ONLY),$(HELPERS) $(PRELOADS),unit)    ## run every test
	REC_STT="$(if $(filter /%,$(BIN)),$(BIN),$(CURDIR)/$(BIN))" BUILD=$(BUILD) ONLY="$(ONLY)" tests/run $(BUILD)/tests

check-long: export LONG = 1
check-long: check                    ## the tests with their long parts

check-asan:                          ## the same tests under AddressSanitizer and UBSan
	$(MAKE) BUILD=build/asan BIN=build/asan/rec-stt HARDEN=-fPIE CFLAGS="-O1 -g" TEST_TIMEOUT=900 \
	    SANITIZE="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer" check

# Threads are joined with a time limit, which ThreadSanitizer takes for threads left over.
check-tsan: export TSAN_OPTIONS = report_thread_leaks=0 suppressions=$(CURDIR)/tests/tsan.supp
check-tsan:                          ## the same tests under ThreadSanitizer
	$(MAKE) BUILD=build/tsan BIN=build/tsan/rec-stt HARDEN=-fPIE CFLAGS="-O1 -g" TEST_TIMEOUT=900 \
	    SANITIZE=-fsanitize=thread check

# A confined process could not write its counters, so this build does not confine itself, and the sandbox's tests fail.
cov:                                 ## tests with line coverage
	-$(MAKE) BUILD=build/cov BIN=build/cov/rec-stt HARDEN=-fPIE CFLAGS="-O0 -g -DRS_COVERAGE" TEST_TIMEOUT=900 \
	    SANITIZE="--coverage -fprofile-update=atomic" check
	scripts/lint/coverage build/cov

lint:                                ## static analysis of code, scripts and man pages
	scripts/lint/all

analysis:                            ## static and dynamic analysis as the integration machine runs it
	scripts/lint/analysis

fuzz:                                ## fuzz every parser for SECS seconds (60)
	scripts/lint/fuzz $(or $(SECS),60)

run: $(BIN)                          ## the main job: record and print text (a sample if there is no microphone)
	scripts/demo/run ./$(BIN)

bench: $(BIN)                        ## speed, memory and start-up of the models and backends at hand
	./$(BIN) bench

eval: $(BIN)                         ## word error rate over DATA=folder (audio and data.tsv)
	scripts/train/evaluate --binary ./$(BIN) $(DATA)

install: $(BIN)                      ## install under PREFIX (and DESTDIR)
	install -Dm755 $(BIN) "$(DESTDIR)$(PREFIX)/bin/rec-stt"
	for f in $(wildcard scripts/rec-stt-*); do install -Dm755 $$f "$(DESTDIR)$(LIBEXECDIR)/$${f##*/}"; done
	install -Dm644 -t "$(DESTDIR)$(DATADIR)/man/man1" man/rec-stt.1
	install -Dm644 -t "$(DESTDIR)$(DATADIR)/man/man5" man/rec-stt-events.5
	install -Dm644 completions/rec-stt.bash "$(DESTDIR)$(DATADIR)/bash-completion/completions/rec-stt"
	install -Dm644 completions/_rec-stt "$(DESTDIR)$(ZSHDIR)/_rec-stt"
	install -Dm644 completions/rec-stt.fish "$(DESTDIR)$(DATADIR)/fish/vendor_completions.d/rec-stt.fish"
	install -Dm644 models/catalog.tsv "$(DESTDIR)$(DATADIR)/rec-stt/catalog.tsv"
	for f in $(wildcard share/*); do install -Dm644 $$f "$(DESTDIR)$(DATADIR)/rec-stt/$${f##*/}"; done
	for f in $(wildcard examples/*); do install -Dm644 $$f "$(DESTDIR)$(DATADIR)/doc/rec-stt/examples/$${f##*/}"; done

uninstall:                           ## remove what install put there
	rm -f "$(DESTDIR)$(PREFIX)/bin/rec-stt" "$(DESTDIR)$(DATADIR)/man/man1/rec-stt.1" "$(DESTDIR)$(DATADIR)/man/man5/rec-stt-events.5"
	rm -f "$(DESTDIR)$(DATADIR)/bash-completion/completions/rec-stt" "$(DESTDIR)$(ZSHDIR)/_rec-stt"
	rm -f "$(DESTDIR)$(DATADIR)/fish/vendor_completions.d/rec-stt.fish"
	rm -rf "$(DESTDIR)$(LIBEXECDIR)" "$(DESTDIR)$(DATADIR)/rec-stt" "$(DESTDIR)$(DATADIR)/doc/rec-stt"

# The archive holds what is committed, and the same commit always gives the same bytes.
dist:                                ## build/rec-stt-VERSION.tar.gz from the last commit
	@mkdir -p build
	git archive --prefix=rec-stt-$(VERSION)/ -o build/rec-stt-$(VERSION).tar HEAD && gzip -9nf build/rec-stt-$(VERSION).tar

deb: dist                            ## a Debian package in build/deb
	rm -rf build/deb && mkdir -p build/deb
	tar -xzf build/rec-stt-$(VERSION).tar.gz -C build/deb
	cd build/deb/rec-stt-$(VERSION) && dpkg-buildpackage -b -us -uc

clean:                               ## remove everything built
	rm -rf build rec-stt

help:                                ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | sort | expand -t 14

.PHONY: FORCE all unit check check-long check-asan check-tsan cov lint analysis fuzz run bench eval install uninstall dist deb clean help
