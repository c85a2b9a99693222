// The CPU kernel of leyden::resample_normalize; resample.py says what it computes, and holds the reference that it equals bit for bit.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "output.h"

namespace {

struct Task {
    const uint8_t* images;  // (num_images, height, width, channels)
    const int64_t* rows;    // (B,)
    const int64_t* box;     // (B, 4)
    const uint8_t* flip;    // (B,)
    const int64_t* hole;    // (B, 4)
    int64_t num_images, height, width, channels, out_height, out_width;
    std::vector<float> scale, shift;  // one value per element of a row of the output, so that the loop over it has no period
    void* out;                        // (B, out_height, out_width, channels)
};

// Which pixels each one of the output is a weighted sum of, along an axis; `weigh_box` in resample.py is the same.
struct Taps {
    int64_t count = 0;
    std::vector<int64_t> first;  // (size,), of `count` neighbours
    std::vector<float> weight;   // (size, count)
};

const int64_t PARTS_PER_THREAD = 8;  // where a core is busy with something else, the others do more

// What one thread works in.
struct Scratch {
    Taps y, x;
    std::vector<float> pixels;       // a row of the image, and a value that `sum_columns` may read beyond it
    std::vector<float> wide;         // (y.count, out_width * channels): rows of the image, resampled; each with a value beyond it
    std::vector<int64_t> kept;       // which row of the image each of them is
    std::vector<const float*> rows;  // those that a row of the output is a sum of
};

void weigh(int64_t start, int64_t length, int64_t size, int64_t side, Taps& taps) {
    const float ratio = static_cast<float>(length) / static_cast<float>(size), reach = std::max(ratio, 1.0f);
    const int64_t count = taps.count = std::min<int64_t>(side, reach > 1 ? static_cast<int64_t>(2 * reach) + 1 : 2);
    taps.first.resize(size);
    taps.weight.resize(size * count);
    for (int64_t i = 0; i < size; ++i) {
        const float centre = (static_cast<float>(i) + 0.5f) * ratio;
        const int64_t wanted = start + static_cast<int64_t>(std::floor(centre - reach + 0.5f));
        const int64_t first = taps.first[i] = std::clamp<int64_t>(wanted, 0, side - count);
        float* weight = taps.weight.data() + i * count;
        float sum = 0;
        for (int64_t tap = 0; tap < count; ++tap) {
            const int64_t pixel = first + tap - start;
            const float height = 1 - std::abs((static_cast<float>(pixel) + 0.5f - centre) / reach);
            sum += weight[tap] = 0 <= pixel && pixel < length ? std::max(height, 0.0f) : 0.0f;
        }
        for (int64_t tap = 0; tap < count; ++tap) weight[tap] /= sum;
    }
}

// Mirror the output: its first pixel is made from what the last one was.
void mirror(Taps& taps) {
    std::reverse(taps.first.begin(), taps.first.end());
    for (size_t low = 0, high = taps.first.size(); low + 1 < high--; ++low)
        std::swap_ranges(taps.weight.begin() + low * taps.count, taps.weight.begin() + (low + 1) * taps.count, taps.weight.begin() + high * taps.count);
}

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

// Whether the example reads inside the images only.
bool is_valid(const Task& task, int64_t example) {
    const int64_t* box = task.box + 4 * example;
    return within(task.rows[example], 0, task.num_images - 1) && within(box[0], 0, task.height - 1) && within(box[1], 0, task.width - 1) &&
           within(box[2], 1, task.height - box[0]) && within(box[3], 1, task.width - box[1]) && is_valid_hole(task.hole + 4 * example);
}

// Give a row of the image resampled to the output's width. Neighbouring rows of the output ask for the same ones, so the last are kept.
const float* find_wide(const Task& task, const uint8_t* image, int64_t y, Scratch& scratch) {
    const int64_t channels = task.channels, slot = y % scratch.y.count, count = scratch.x.count;
    float* wide = scratch.wide.data() + slot * (task.out_width * channels + 1);
    if (scratch.kept[slot] == y) return wide;
    scratch.kept[slot] = y;
    const uint8_t* row = image + y * task.width * channels;
    std::copy(row, row + task.width * channels, scratch.pixels.begin());
    const auto sum = channels == 1 ? sum_columns<1, 1, 0> : count == 2 ? sum_columns<3, 4, 2> : count == 3 ? sum_columns<3, 4, 3> : sum_columns<3, 4, 0>;
    sum(scratch.pixels.data(), scratch.x.first.data(), scratch.x.weight.data(), wide, task.out_width, count);
    return wide;
}

template <typename Out>
void fill_example(const Task& task, int64_t example, Scratch& scratch) {
    const int64_t channels = task.channels, row_size = task.out_width * channels;
    const int64_t* box = task.box + 4 * example;
    weigh(box[0], box[2], task.out_height, task.height, scratch.y);
    weigh(box[1], box[3], task.out_width, task.width, scratch.x);
    if (task.flip[example]) mirror(scratch.x);
    const int64_t count = scratch.y.count;
    scratch.wide.resize(count * (row_size + 1));
    scratch.kept.assign(count, -1);
    scratch.rows.resize(count);

    const uint8_t* image = task.images + task.rows[example] * task.height * task.width * channels;
    Out* out = static_cast<Out*>(task.out) + example * task.out_height * row_size;
    const auto sum = count == 2 ? sum_rows<Out, 2> : count == 3 ? sum_rows<Out, 3> : sum_rows<Out, 0>;
    for (int64_t y = 0; y < task.out_height; ++y, out += row_size) {
        for (int64_t tap = 0; tap < count; ++tap) scratch.rows[tap] = find_wide(task, image, scratch.y.first[y] + tap, scratch);
        sum(scratch.rows.data(), scratch.y.weight.data() + y * count, task.scale.data(), task.shift.data(), out, row_size, count);
        blank(task.hole + 4 * example, y, task.out_width, channels, out);
    }
}

// Fill a span of examples; returns whether all were valid.
template <typename Out>
bool fill_examples(const Task& task, int64_t begin, int64_t end) {
    Scratch scratch;
    scratch.pixels.resize(task.width * task.channels + 1);
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
extern "C" int resample_normalize(const uint8_t* images, const int64_t* rows, const int64_t* box, const uint8_t* flip, const int64_t* hole,
                                  const float* scale, const float* shift, void* out, int64_t batch_size, int64_t num_images, int64_t height,
                                  int64_t width, int64_t channels, int64_t out_height, int64_t out_width, int64_t is_bfloat16, int64_t threads) {
    Task task{images, rows, box, flip, hole, num_images, height, width, channels, out_height, out_width, {}, {}, out};
    for (int64_t x = 0; x < out_width; ++x) {
        task.scale.insert(task.scale.end(), scale, scale + channels);
        task.shift.insert(task.shift.end(), shift, shift + channels);
    }
    return !(is_bfloat16 ? fill_batch<uint16_t>(task, batch_size, threads) : fill_batch<float>(task, batch_size, threads));
}
