// The CPU kernel of leyden::crop_flip_normalize; crop.py says what it computes, and holds the reference that it equals bit for bit.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <vector>

#include "output.h"

namespace {

struct Task {
    const uint8_t* images;  // (num_images, height, width, channels)
    const int64_t* rows;    // (B,), as top, left and flip
    const int64_t* top;
    const int64_t* left;
    const uint8_t* flip;
    const int64_t* hole;  // (B, 4)
    int64_t num_images, height, width, channels, out_height, out_width, pad_y, pad_x;
    std::vector<float> scale, shift;  // one value per element of a row of the output, so that the loop over it has no period
    void* out;                        // (B, out_height, out_width, channels)
};

template <typename Out>
void normalize(const uint8_t* __restrict pixels, const float* __restrict scale, const float* __restrict shift, Out* __restrict out, int64_t count) {
    for (int64_t i = 0; i < count; ++i) store(static_cast<float>(pixels[i]) * scale[i] + shift[i], out + i);
}

// The number of channels is a constant here, so that a pixel moves as one.
template <int64_t channels>
void mirror(const uint8_t* __restrict pixels, uint8_t* __restrict out, int64_t count) {
    for (int64_t x = 0; x < count; ++x)
        for (int64_t c = 0; c < channels; ++c) out[x * channels + c] = pixels[(count - 1 - x) * channels + c];
}

void mirror(const uint8_t* pixels, uint8_t* out, int64_t count, int64_t channels) {
    if (channels == 1) return mirror<1>(pixels, out, count);
    if (channels == 3) return mirror<3>(pixels, out, count);
    for (int64_t x = 0; x < count; ++x) std::memcpy(out + x * channels, pixels + (count - 1 - x) * channels, channels);
}

// Whether the example reads inside the images only.
bool is_valid(const Task& task, int64_t example) {
    return within(task.rows[example], 0, task.num_images - 1) &&
           within(task.top[example], 0, task.height + 2 * task.pad_y - task.out_height) &&
           within(task.left[example], 0, task.width + 2 * task.pad_x - task.out_width) &&
           is_valid_hole(task.hole + 4 * example);
}

template <typename Out>
void fill_example(const Task& task, int64_t example, std::vector<uint8_t>& staged) {
    const int64_t channels = task.channels, row_size = task.out_width * channels;
    const uint8_t* image = task.images + task.rows[example] * task.height * task.width * channels;
    Out* out = static_cast<Out*>(task.out) + example * task.out_height * row_size;

    // Columns of the image that the crop shows, and where they begin in a row of the output.
    const int64_t left = task.left[example] - task.pad_x;
    const int64_t first = std::max<int64_t>(left, 0), count = std::max<int64_t>(std::min(left + task.out_width, task.width) - first, 0);
    const bool flip = task.flip[example];
    const int64_t begin = flip ? left + task.out_width - first - count : first - left;

    std::fill(staged.begin(), staged.end(), 0);
    for (int64_t y = 0; y < task.out_height; ++y, out += row_size) {
        const int64_t source_y = task.top[example] - task.pad_y + y;
        if (count == 0 || !within(source_y, 0, task.height - 1)) {
            std::fill(staged.begin(), staged.end(), 0);
        } else {
            const uint8_t* pixels = image + (source_y * task.width + first) * channels;
            uint8_t* shown = staged.data() + begin * channels;
            flip ? mirror(pixels, shown, count, channels) : static_cast<void>(std::memcpy(shown, pixels, count * channels));
        }
        normalize(staged.data(), task.scale.data(), task.shift.data(), out, row_size);
        blank(task.hole + 4 * example, y, task.out_width, channels, out);
    }
}

// The span of examples that falls to one thread; returns whether all were valid.
template <typename Out>
bool fill_examples(const Task& task, int64_t begin, int64_t end) {
    std::vector<uint8_t> staged(task.out_width * task.channels);
    bool valid = true;
    for (int64_t example = begin; example < end; ++example) {
        if (is_valid(task, example)) fill_example<Out>(task, example, staged);
        else valid = false;
    }
    return valid;
}

template <typename Out>
bool fill_batch(const Task& task, int64_t batch_size, int64_t threads) {
    std::atomic<bool> valid{true};
// torch's Linux wheels (seen in 2.13) have loaded libgomp.so.1 already, so both share one pool of threads.
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int64_t part = 0; part < threads; ++part) {
        if (!fill_examples<Out>(task, batch_size * part / threads, batch_size * (part + 1) / threads)) valid = false;
    }
    return valid;
}

}  // namespace

// Returns 0, or 1 where an example asked for pixels outside the images: its output is then undefined.
extern "C" int crop_flip_normalize(const uint8_t* images, const int64_t* rows, const int64_t* top, const int64_t* left, const uint8_t* flip,
                                   const int64_t* hole, const float* scale, const float* shift, void* out, int64_t batch_size,
                                   int64_t num_images, int64_t height, int64_t width, int64_t channels, int64_t out_height, int64_t out_width,
                                   int64_t pad_y, int64_t pad_x, int64_t is_bfloat16, int64_t threads) {
    Task task{images, rows, top, left, flip, hole, num_images, height, width, channels, out_height, out_width, pad_y, pad_x, {}, {}, out};
    for (int64_t x = 0; x < out_width; ++x) {
        task.scale.insert(task.scale.end(), scale, scale + channels);
        task.shift.insert(task.shift.end(), shift, shift + channels);
    }
    return !(is_bfloat16 ? fill_batch<uint16_t>(task, batch_size, threads) : fill_batch<float>(task, batch_size, threads));
}
