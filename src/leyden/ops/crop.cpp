// The CPU kernel of leyden::crop_flip_normalize; crop.py documents it, and has the reference that it equals bit for bit.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "packed_images.h"

namespace {

struct CropArgs : PackedArgs {
    const int64_t *top, *left;  // (B,)
    int64_t pad_y, pad_x;
};

template <typename Out>
void normalize(const uint8_t* __restrict pixels, const float* __restrict scale, const float* __restrict shift, Out* __restrict out, int64_t count) {
    for (int64_t i = 0; i < count; ++i) store(static_cast<float>(pixels[i]) * scale[i] + shift[i], out + i);
}

// The number of channels is a compile-time constant here, so that the compiler moves whole pixels.
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

// Whether the crop lies within its padded image, and its row and hole are valid.
bool is_valid(const CropArgs& args, int64_t example) {
    return has_valid_row_and_hole(args, example) &&
           is_between(args.top[example], 0, args.height + 2 * args.pad_y - args.out_height) &&
           is_between(args.left[example], 0, args.width + 2 * args.pad_x - args.out_width);
}

// Returns whether the example is valid; its output is written only then.
template <typename Out>
bool fill_example(const CropArgs& args, int64_t example, std::vector<uint8_t>& buffer) {
    if (!is_valid(args, example)) return false;
    const int64_t channels = args.channels, row_size = args.out_width * channels;
    const uint8_t* image = args.images + args.rows[example] * args.height * args.width * channels;
    Out* out = static_cast<Out*>(args.out) + example * args.out_height * row_size;

    // The image columns inside the crop, and the output column at which they begin.
    const int64_t left = args.left[example] - args.pad_x;
    const int64_t first = std::max<int64_t>(left, 0), count = std::max<int64_t>(std::min(left + args.out_width, args.width) - first, 0);
    const bool flip = args.flip[example];
    const int64_t begin = flip ? left + args.out_width - first - count : first - left;

    std::fill(buffer.begin(), buffer.end(), 0);
    for (int64_t y = 0; y < args.out_height; ++y, out += row_size) {
        const int64_t source_y = args.top[example] - args.pad_y + y;
        if (count == 0 || !is_between(source_y, 0, args.height - 1)) {
            std::fill(buffer.begin(), buffer.end(), 0);
        } else {
            const uint8_t* pixels = image + (source_y * args.width + first) * channels;
            uint8_t* visible = buffer.data() + begin * channels;
            flip ? mirror(pixels, visible, count, channels) : static_cast<void>(std::memcpy(visible, pixels, count * channels));
        }
        normalize(buffer.data(), args.scale.data(), args.shift.data(), out, row_size);
        fill_hole(args.hole + 4 * example, y, args.out_width, channels, out);
    }
    return true;
}

template <typename Out>
bool fill_batch(const CropArgs& args, int64_t batch_size, int64_t num_threads) {
    return fill_in_parallel(
        batch_size, num_threads, num_threads, [&] { return std::vector<uint8_t>(args.out_width * args.channels); },
        [&](int64_t example, std::vector<uint8_t>& buffer) { return fill_example<Out>(args, example, buffer); });
}

}  // namespace

// Returns 0, or 1 if a value of an example is out of range: that example's output is then undefined.
extern "C" int crop_flip_normalize(const uint8_t* images, const int64_t* rows, const int64_t* top, const int64_t* left, const uint8_t* flip,
                                   const int64_t* hole, const float* scale, const float* shift, void* out, int64_t batch_size,
                                   int64_t num_images, int64_t height, int64_t width, int64_t channels, int64_t out_height, int64_t out_width,
                                   int64_t pad_y, int64_t pad_x, int64_t is_bfloat16, int64_t num_threads) {
    const CropArgs args{{images, rows, flip, hole, num_images, height, width, channels, out_height, out_width,
                         repeat_channels(scale, channels, out_width), repeat_channels(shift, channels, out_width), out}, top, left, pad_y, pad_x};
    return !(is_bfloat16 ? fill_batch<uint16_t>(args, batch_size, num_threads) : fill_batch<float>(args, batch_size, num_threads));
}
