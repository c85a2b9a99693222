// The CPU kernel of leyden::resample_normalize; resample.py says what it computes, and holds the reference that it equals bit for bit.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <vector>

#include "output.h"

namespace {

struct Task {
    const uint8_t* images;  // (num_images, height, width, channels)
    const int64_t* rows;     // (B,)
    const int64_t* y_first;  // (B, out_height)
    const float* y_weight;   // (B, out_height, y_taps)
    const int64_t* x_first;  // (B, out_width)
    const float* x_weight;   // (B, out_width, x_taps)
    const int64_t* hole;     // (B, 4)
    int64_t num_images, height, width, channels, out_height, y_taps, out_width, x_taps;
    std::vector<float> scale, shift;  // one value per element of a row of the output, so that the loop over it has no period
    void* out;                        // (B, out_height, out_width, channels)
};

const int64_t PARTS_PER_THREAD = 8;  // where a core is busy with something else, the others do more

// What one thread works in.
struct Scratch {
    std::vector<float> pixels;       // a row of the image, and a value that `sum_columns` may read beyond it
    std::vector<float> wide;         // (y_taps, out_width * channels): rows of the image, resampled; each with a value beyond it
    std::vector<int64_t> kept;       // which row of the image each of them is
    std::vector<const float*> rows;  // those that a row of the output is a sum of
};

// Both sums run over `taps` where that is a constant (2, or 3 where images shrink a little), which is several times faster; 0 is any number.

// Resample a row of pixels. A pixel is summed in `lanes` values: four for RGB, so that it moves as one; the next pixel overwrites the fourth.
template <int64_t channels, int64_t lanes, int64_t taps>
void sum_columns(const float* __restrict pixels, const int64_t* __restrict first, const float* __restrict weight, float* __restrict out,
                 int64_t width, int64_t num_taps) {
    const int64_t count = taps ? taps : num_taps;
    for (int64_t x = 0; x < width; ++x) {
        float sum[lanes] = {};
        for (int64_t tap = 0; tap < count; ++tap)
            for (int64_t lane = 0; lane < lanes; ++lane) sum[lane] += pixels[(first[x] + tap) * channels + lane] * weight[x * count + tap];
        std::memcpy(out + x * channels, sum, sizeof sum);
    }
}

// Sum resampled rows to a row of the output, and normalise it.
template <typename Out, int64_t taps>
void sum_rows(const float* const* rows, const float* weight, const float* scale, const float* shift, Out* out, int64_t size, int64_t num_taps) {
    const int64_t count = taps ? taps : num_taps;
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) {
        float sum = 0;
        for (int64_t tap = 0; tap < count; ++tap) sum += rows[tap][i] * weight[tap];
        store(sum * scale[i] + shift[i], out + i);
    }
}

bool all_within(const int64_t* values, int64_t count, int64_t high) {
    return std::all_of(values, values + count, [high](int64_t value) { return within(value, 0, high); });
}

// Whether the example reads inside the images only.
bool is_valid(const Task& task, int64_t example) {
    return within(task.rows[example], 0, task.num_images - 1) &&
           all_within(task.y_first + example * task.out_height, task.out_height, task.height - task.y_taps) &&
           all_within(task.x_first + example * task.out_width, task.out_width, task.width - task.x_taps) &&
           is_valid_hole(task.hole + 4 * example);
}

// Give a row of the image resampled to the output's width. Neighbouring rows of the output ask for the same ones, so the last are kept.
const float* find_wide(const Task& task, int64_t example, int64_t y, Scratch& scratch) {
    const int64_t channels = task.channels, slot = y % task.y_taps;
    float* wide = scratch.wide.data() + slot * (task.out_width * channels + 1);
    if (scratch.kept[slot] == y) return wide;
    scratch.kept[slot] = y;
    const uint8_t* row = task.images + (task.rows[example] * task.height + y) * task.width * channels;
    std::copy(row, row + task.width * channels, scratch.pixels.begin());
    const int64_t place = example * task.out_width;
    const auto sum_row = channels == 1     ? sum_columns<1, 1, 0>
                         : task.x_taps == 2 ? sum_columns<3, 4, 2>
                         : task.x_taps == 3 ? sum_columns<3, 4, 3>
                                            : sum_columns<3, 4, 0>;
    sum_row(scratch.pixels.data(), task.x_first + place, task.x_weight + place * task.x_taps, wide, task.out_width, task.x_taps);
    return wide;
}

template <typename Out>
void fill_example(const Task& task, int64_t example, Scratch& scratch) {
    const int64_t channels = task.channels, row_size = task.out_width * channels;
    Out* out = static_cast<Out*>(task.out) + example * task.out_height * row_size;
    const auto sum = task.y_taps == 2 ? sum_rows<Out, 2> : task.y_taps == 3 ? sum_rows<Out, 3> : sum_rows<Out, 0>;
    std::fill(scratch.kept.begin(), scratch.kept.end(), -1);
    for (int64_t y = 0; y < task.out_height; ++y, out += row_size) {
        const int64_t place = example * task.out_height + y;
        for (int64_t tap = 0; tap < task.y_taps; ++tap) scratch.rows[tap] = find_wide(task, example, task.y_first[place] + tap, scratch);
        sum(scratch.rows.data(), task.y_weight + place * task.y_taps, task.scale.data(), task.shift.data(), out, row_size, task.y_taps);
        blank(task.hole + 4 * example, y, task.out_width, channels, out);
    }
}

// Fill a span of examples; returns whether all were valid.
template <typename Out>
bool fill_examples(const Task& task, int64_t begin, int64_t end) {
    const size_t row_size = task.out_width * task.channels;
    Scratch scratch{std::vector<float>(task.width * task.channels + 1), std::vector<float>(task.y_taps * (row_size + 1)),
                    std::vector<int64_t>(task.y_taps), std::vector<const float*>(task.y_taps)};
    bool valid = true;
    for (int64_t example = begin; example < end; ++example) {
        if (is_valid(task, example)) fill_example<Out>(task, example, scratch);
        else valid = false;
    }
    return valid;
}

template <typename Out>
bool fill_batch(const Task& task, int64_t batch_size, int64_t threads) {
    std::atomic<bool> valid{true};
    const int64_t parts = threads * PARTS_PER_THREAD;
// torch's Linux wheels (seen in 2.13) have loaded libgomp.so.1 already, so both share one pool of threads.
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t part = 0; part < parts; ++part) {
        if (!fill_examples<Out>(task, batch_size * part / parts, batch_size * (part + 1) / parts)) valid = false;
    }
    return valid;
}

}  // namespace

// Returns 0, or 1 where an example asked for pixels outside the images: its output is then undefined.
extern "C" int resample_normalize(const uint8_t* images, const int64_t* rows, const int64_t* y_first, const float* y_weight,
                                  const int64_t* x_first, const float* x_weight, const int64_t* hole, const float* scale, const float* shift,
                                  void* out, int64_t batch_size, int64_t num_images, int64_t height, int64_t width, int64_t channels,
                                  int64_t out_height, int64_t y_taps, int64_t out_width, int64_t x_taps, int64_t is_bfloat16, int64_t threads) {
    Task task{images, rows, y_first, y_weight, x_first, x_weight, hole, num_images, height, width, channels,
              out_height, y_taps, out_width, x_taps, {}, {}, out};
    for (int64_t x = 0; x < out_width; ++x) {
        task.scale.insert(task.scale.end(), scale, scale + channels);
        task.shift.insert(task.shift.end(), shift, shift + channels);
    }
    return !(is_bfloat16 ? fill_batch<uint16_t>(task, batch_size, threads) : fill_batch<float>(task, batch_size, threads));
}
