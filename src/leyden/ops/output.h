// What the kernels of this folder share: how a value is rounded and stored, and the hole that is cut out.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace {

// Round to nearest, ties to even; a NaN stays one.
uint16_t to_bfloat16(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded);
}

void store(float value, float* out) { *out = value; }
void store(float value, uint16_t* out) { *out = to_bfloat16(value); }

bool within(int64_t value, int64_t low, int64_t high) { return low <= value && value <= high; }

// A hole is top, left, height and width; these bounds keep its sums from overflowing.
bool is_valid_hole(const int64_t* hole) {
    const int64_t limit = int64_t(1) << 31;
    return within(hole[0], -limit, limit) && within(hole[1], -limit, limit) && within(hole[2], 0, limit) && within(hole[3], 0, limit);
}

// Set what the hole covers of row `y` of the output to 0.
template <typename Out>
void blank(const int64_t* hole, int64_t y, int64_t width, int64_t channels, Out* row) {
    const int64_t left = std::max<int64_t>(hole[1], 0), right = std::min(hole[1] + hole[3], width);
    if (within(y, hole[0], hole[0] + hole[2] - 1) && left < right) std::fill(row + left * channels, row + right * channels, Out(0));
}

}  // namespace
