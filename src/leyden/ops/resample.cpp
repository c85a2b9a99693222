// The CPU kernel of leyden::resample_normalize; resample.py documents it, and has the reference that it equals bit for bit.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "packed_images.h"

namespace {

struct ResampleArgs : PackedArgs {
    const int64_t* box;  // (B, 4)
};

// The filter along one axis: each output pixel is a weighted sum of `count` neighbouring input pixels. Same as `compute_taps` in resample.py.
struct Taps {
    int64_t count = 0;
    std::vector<int64_t> first;  // (size,), the first input pixel of each output pixel
    std::vector<float> weight;   // (size, count)
};

const int64_t PARTS_PER_THREAD = 8;  // more than one, so that idle threads take over from a core that is busy with something else

// Buffers that examples reuse.
struct Scratch {
    explicit Scratch(int64_t row_size) : pixels(row_size + 1) {}

    Taps y, x;
    std::vector<float> pixels;       // one image row, and one more value because `sum_columns` may read past the row
    std::vector<float> horizontal;   // (y.count, out_width * channels + 1): image rows resampled horizontally, each with one value of slack
    std::vector<int64_t> cached;     // (y.count,), the image row that each of them holds
    std::vector<const float*> rows;  // (y.count,), those that the current output row is a sum of
};

void compute_taps(int64_t start, int64_t length, int64_t size, int64_t side, Taps& taps) {
    const float ratio = static_cast<float>(length) / static_cast<float>(size), radius = std::max(ratio, 1.0f);
    const int64_t count = taps.count = std::min<int64_t>(side, radius > 1 ? static_cast<int64_t>(2 * radius) + 1 : 2);
    taps.first.resize(size);
    taps.weight.resize(size * count);
    for (int64_t i = 0; i < size; ++i) {
        const float centre = (static_cast<float>(i) + 0.5f) * ratio;
        const int64_t unclamped = start + static_cast<int64_t>(std::floor(centre - radius + 0.5f));
        const int64_t first = taps.first[i] = std::clamp<int64_t>(unclamped, 0, side - count);
        float* weight = taps.weight.data() + i * count;
        float sum = 0;
        for (int64_t tap = 0; tap < count; ++tap) {
            const int64_t pixel = first + tap - start;
            const float height = 1 - std::abs((static_cast<float>(pixel) + 0.5f - centre) / radius);
            sum += weight[tap] = 0 <= pixel && pixel < length ? std::max(height, 0.0f) : 0.0f;
        }
        for (int64_t tap = 0; tap < count; ++tap) weight[tap] /= sum;
    }
}

// Mirror the output by reversing the order of its pixels' taps.
void mirror(Taps& taps) {
    std::reverse(taps.first.begin(), taps.first.end());
    for (size_t low = 0, high = taps.first.size(); low + 1 < high--; ++low)
        std::swap_ranges(taps.weight.begin() + low * taps.count, taps.weight.begin() + (low + 1) * taps.count, taps.weight.begin() + high * taps.count);
}

// The two sums below have the number of taps as a compile-time constant where it is 2, or 3 (for images that shrink a little): this is several
// times faster. With the template argument 0 they use `num_taps`.

// Resample a row of pixels. A pixel is summed in `lanes` values: four for RGB, so that it fills one register; the next pixel overwrites the fourth.
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

// Sum horizontally resampled rows to one row of the output, and normalise it.
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

// Whether the box lies within its image, and its row and hole are valid.
bool is_valid(const ResampleArgs& args, int64_t example) {
    const int64_t* box = args.box + 4 * example;
    return has_valid_row_and_hole(args, example) && is_between(box[0], 0, args.height - 1) && is_between(box[1], 0, args.width - 1) &&
           is_between(box[2], 1, args.height - box[0]) && is_between(box[3], 1, args.width - box[1]);
}

// Return row `y` of an image, resampled to the output's width. Neighbouring output rows use the same image rows, so the last ones are cached.
const float* resample_row(const ResampleArgs& args, const uint8_t* image, int64_t y, Scratch& scratch) {
    const int64_t channels = args.channels, slot = y % scratch.y.count, count = scratch.x.count;
    float* horizontal = scratch.horizontal.data() + slot * (args.out_width * channels + 1);
    if (scratch.cached[slot] == y) return horizontal;
    scratch.cached[slot] = y;
    const uint8_t* row = image + y * args.width * channels;
    std::copy(row, row + args.width * channels, scratch.pixels.begin());
    const auto sum = channels == 1 ? sum_columns<1, 1, 0> : count == 2 ? sum_columns<3, 4, 2> : count == 3 ? sum_columns<3, 4, 3> : sum_columns<3, 4, 0>;
    sum(scratch.pixels.data(), scratch.x.first.data(), scratch.x.weight.data(), horizontal, args.out_width, count);
    return horizontal;
}

// Returns whether the example is valid; its output is written only then.
template <typename Out>
bool fill_example(const ResampleArgs& args, int64_t example, Scratch& scratch) {
    if (!is_valid(args, example)) return false;
    const int64_t channels = args.channels, row_size = args.out_width * channels;
    const int64_t* box = args.box + 4 * example;
    compute_taps(box[0], box[2], args.out_height, args.height, scratch.y);
    compute_taps(box[1], box[3], args.out_width, args.width, scratch.x);
    if (args.flip[example]) mirror(scratch.x);
    const int64_t count = scratch.y.count;
    scratch.horizontal.resize(count * (row_size + 1));
    scratch.cached.assign(count, -1);
    scratch.rows.resize(count);

    const uint8_t* image = args.images + args.rows[example] * args.height * args.width * channels;
    Out* out = static_cast<Out*>(args.out) + example * args.out_height * row_size;
    const auto sum = count == 2 ? sum_rows<Out, 2> : count == 3 ? sum_rows<Out, 3> : sum_rows<Out, 0>;
    for (int64_t y = 0; y < args.out_height; ++y, out += row_size) {
        for (int64_t tap = 0; tap < count; ++tap) scratch.rows[tap] = resample_row(args, image, scratch.y.first[y] + tap, scratch);
        sum(scratch.rows.data(), scratch.y.weight.data() + y * count, args.scale.data(), args.shift.data(), out, row_size, count);
        fill_hole(args.hole + 4 * example, y, args.out_width, channels, out);
    }
    return true;
}

template <typename Out>
bool fill_batch(const ResampleArgs& args, int64_t batch_size, int64_t num_threads) {
    return fill_in_parallel(
        batch_size, num_threads * PARTS_PER_THREAD, num_threads, [&] { return Scratch(args.width * args.channels); },
        [&](int64_t example, Scratch& scratch) { return fill_example<Out>(args, example, scratch); });
}

}  // namespace

// Returns 0, or 1 if a value of an example is out of range: that example's output is then undefined.
extern "C" int resample_normalize(const uint8_t* images, const int64_t* rows, const int64_t* box, const uint8_t* flip, const int64_t* hole,
                                  const float* scale, const float* shift, void* out, int64_t batch_size, int64_t num_images, int64_t height,
                                  int64_t width, int64_t channels, int64_t out_height, int64_t out_width, int64_t is_bfloat16,
                                  int64_t num_threads) {
    const ResampleArgs args{{images, rows, flip, hole, num_images, height, width, channels, out_height, out_width,
                             repeat_channels(scale, channels, out_width), repeat_channels(shift, channels, out_width), out}, box};
    return !(is_bfloat16 ? fill_batch<uint16_t>(args, batch_size, num_threads) : fill_batch<float>(args, batch_size, num_threads));
}
