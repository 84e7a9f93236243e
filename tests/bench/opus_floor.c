/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What libopus itself costs: the same frames of the same sound as bench.opus_cost gives to trunkline's codec,
 * with the same settings and as many streams in turn, from C.
 *
 *   opus_floor PCM RATE SAMPLES STREAMS FRAMES COMPLEXITY BITRATE BANDWIDTH LOSS
 *
 * PCM is a file of int16; stream s begins SAMPLES * s frames into it and goes round.  Prints the CPU time of one
 * encoded and of one decoded frame in ns, and the bytes of all packets, by which the caller sees that both did
 * the same work.  libopus is loaded like trunkline loads it, so that no header is needed to build this.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define WIDTH 1275

static double cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static void *must(void *found, const char *what) {
    if (!found) {
        fprintf(stderr, "opus_floor: no %s\n", what);
        exit(1);
    }
    return found;
}

int main(int argc, char **argv) {
    if (argc != 10) {
        fprintf(stderr, "opus_floor: nine arguments, please\n");
        return 2;
    }
    int rate = atoi(argv[2]), samples = atoi(argv[3]), streams = atoi(argv[4]), frames = atoi(argv[5]);
    int settings[][2] = {{4010, atoi(argv[6])}, {4002, atoi(argv[7])}, {4004, atoi(argv[8])},
                         {4012, atoi(argv[9]) > 0}, {4014, atoi(argv[9])}};

    FILE *file = must(fopen(argv[1], "rb"), argv[1]);
    fseek(file, 0, SEEK_END);
    long pieces = ftell(file) / 2 / samples;
    rewind(file);
    int16_t *pcm = must(malloc(pieces * samples * 2 + 2), "memory");
    if (!pieces || fread(pcm, 2, pieces * samples, file) != (size_t)(pieces * samples)) return 1;

    void *lib = must(dlopen("libopus.so.0", RTLD_NOW), "libopus.so.0");
    void *(*new_encoder)(int32_t, int, int, int *) = must(dlsym(lib, "opus_encoder_create"), "opus_encoder_create");
    void *(*new_decoder)(int32_t, int, int *) = must(dlsym(lib, "opus_decoder_create"), "opus_decoder_create");
    int (*control)(void *, int, ...) = must(dlsym(lib, "opus_encoder_ctl"), "opus_encoder_ctl");
    int32_t (*encode)(void *, const int16_t *, int, uint8_t *, int32_t) = must(dlsym(lib, "opus_encode"), "opus_encode");
    int (*decode)(void *, const uint8_t *, int32_t, int16_t *, int, int) = must(dlsym(lib, "opus_decode"), "opus_decode");

    void **encoders = must(calloc(streams, sizeof(void *)), "memory"), **decoders = must(calloc(streams, sizeof(void *)), "memory");
    uint8_t *packets = must(malloc((size_t)streams * WIDTH), "memory");
    int32_t *sizes = must(calloc(streams, sizeof(int32_t)), "memory");
    int16_t *out = must(malloc((size_t)streams * samples * 2), "memory");
    for (int s = 0; s < streams; s++) {
        int error;
        encoders[s] = must(new_encoder(rate, 1, 2048, &error), "encoder");
        decoders[s] = must(new_decoder(rate, 1, &error), "decoder");
        for (unsigned i = 0; i < sizeof settings / sizeof *settings; i++)
            if (control(encoders[s], settings[i][0], settings[i][1])) return 1;
    }

    double encoding = 0, decoding = 0;
    int64_t bytes = 0;
    for (int f = 0; f < frames; f++) {
        double begin = cpu_ns();
        for (int s = 0; s < streams; s++)
            sizes[s] = encode(encoders[s], pcm + (f + (long)samples * s) % pieces * samples, samples, packets + (long)s * WIDTH, WIDTH);
        double middle = cpu_ns();
        for (int s = 0; s < streams; s++)
            if (decode(decoders[s], packets + (long)s * WIDTH, sizes[s], out + (long)s * samples, samples, 0) != samples) return 1;
        decoding += cpu_ns() - middle;
        encoding += middle - begin;
        for (int s = 0; s < streams; s++) bytes += sizes[s];
    }
    double count = (double)frames * streams;
    printf("%.0f %.0f %lld\n", encoding / count, decoding / count, (long long)bytes);
    return 0;
}
