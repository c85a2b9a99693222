// What the kernels share: arguments, threads, normalisation constants, rounding of the output, and the hole that is set to 0.

#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

// Round to nearest, ties to even; NaN stays NaN.
uint16_t to_bfloat16(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded);
}

void store(float value, float* out) { *out = value; }
void store(float value, uint16_t* out) { *out = to_bfloat16(value); }

bool is_between(int64_t value, int64_t low, int64_t high) { return low <= value && value <= high; }

// A hole is top, left, height and width; these limits (HOLE_LIMIT in packed_images.py) keep its sums from overflowing.
bool is_valid_hole(const int64_t* hole) {
    const int64_t limit = int64_t(1) << 31;
    return is_between(hole[0], -limit, limit) && is_between(hole[1], -limit, limit) && is_between(hole[2], 0, limit) && is_between(hole[3], 0, limit);
}

// The arguments that all kernels have.
struct PackedArgs {
    const uint8_t* images;  // (num_images, height, width, channels)
    const int64_t* rows;    // (B,)
    const uint8_t* flip;    // (B,)
    const int64_t* hole;    // (B, 4)
    int64_t num_images, height, width, channels, out_height, out_width;
    std::vector<float> scale, shift;  // (out_width * channels,), repeated for every pixel of a row
    void* out;                        // (B, out_height, out_width, channels)
};

// Whether an example's image exists and its hole is valid.
bool has_valid_row_and_hole(const PackedArgs& args, int64_t example) {
    return is_between(args.rows[example], 0, args.num_images - 1) && is_valid_hole(args.hole + 4 * example);
}

// Set the part of the hole that lies in row `y` of the output to 0.
template <typename Out>
void fill_hole(const int64_t* hole, int64_t y, int64_t width, int64_t channels, Out* row) {
    const int64_t left = std::max<int64_t>(hole[1], 0), right = std::min(hole[1] + hole[3], width);
    if (is_between(y, hole[0], hole[0] + hole[2] - 1) && left < right) std::fill(row + left * channels, row + right * channels, Out(0));
}

// Repeat a constant of each channel for every pixel of a row, so that the loop over the row needs no inner loop over channels.
std::vector<float> repeat_channels(const float* values, int64_t channels, int64_t width) {
    std::vector<float> row;
    row.reserve(width * channels);
    for (int64_t x = 0; x < width; ++x) row.insert(row.end(), values, values + channels);
    return row;
}

// Fill a batch in parts, each with the buffers that `make_scratch()` returns. `fill_example(example, scratch)` returns whether an example is valid.
// Returns whether all are.
template <typename MakeScratch, typename FillExample>
bool fill_in_parallel(int64_t batch_size, int64_t num_parts, int64_t num_threads, MakeScratch make_scratch, FillExample fill_example) {
    std::atomic<bool> valid{true};
// torch's Linux wheels (checked for 2.13) have already loaded libgomp.so.1, so both share one thread pool.
#pragma omp parallel for num_threads(num_threads) schedule(dynamic)
    for (int64_t part = 0; part < num_parts; ++part) {
        auto scratch = make_scratch();
        for (int64_t example = batch_size * part / num_parts; example < batch_size * (part + 1) / num_parts; ++example)
            if (!fill_example(example, scratch)) valid = false;
    }
    return valid;
}

}  // namespace
