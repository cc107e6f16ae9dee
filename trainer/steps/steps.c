/* Training steps of one member of a stack, from rows to updated parameters.

The networks are small enough to stay in a core's own cache, and so does all that a step touches:
each member does many steps in one call before the next member comes. trainer/steps/in_torch.py is
the same in torch's operations; what layers, masks, losses and updates mean is written there and in
what it calls. Matrices lie row by row: x (batch, inputs), weights (inputs, outputs), and the last
layer's (outputs, inputs). Shapes stand in brackets; columns are outputs padded to PADDING.
*/

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

typedef struct {
    int64_t inputs, hidden, layers, outputs, labels, batch, parameters;
} Sizes; /* sizes are padded, but for labels and batch; layers are the hidden ones */

typedef struct {
    float *parameters, *mean, *square,   /* (parameters,) each */
        *steps;                          /* (1,): how many were taken so far */
    const float *pos_weight, *smoothing; /* (outputs,) each */
    float lr, weight_decay, gamma, max_norm;
    int64_t drop; /* of 256 units */
} Member;

enum { PADDING = 16 }; /* sizes that run along a vector are multiples of it */

/* What is under way, for a thread that looks on; benchmarks/shares.py does. */
enum { PRODUCTS, ELEMENTWISE, GATHER, OPTIMIZER };
volatile int under_way = ELEMENTWISE;

static const float BETA1 = 0.9f, BETA2 = 0.999f, EPSILON = 1e-8f;

/* The least multiple of PADDING that is at least n. */
static int64_t padded(int64_t n) { return (n + PADDING - 1) / PADDING * PADDING; }

/* --- products ------------------------------------------------------------------------------- */

#if defined(__AVX512F__)
enum { LANES = 16, HIGH = 8 }; /* HIGH x 2 vectors of sums, and what they need, fill the registers */
#elif defined(__AVX__)
enum { LANES = 8, HIGH = 4 };
#elif defined(__aarch64__)
enum { LANES = 4, HIGH = 8 };
#else
enum { LANES = 4, HIGH = 4 };
#endif

const int lanes = LANES;

typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4)));
typedef float Four __attribute__((vector_size(16), aligned(4)));

typedef struct {
    const float *at;
    int64_t row, column; /* strides */
} Matrix;

#define UNROLLED _Pragma("GCC unroll 16")

/* sum + x * v, rounded once: said outright, since a compiler left to itself may fuse in tall tiles
   and not in single rows, and then a row's answer would depend on how many rows stand beside it. */
#if defined(__AVX512F__)
#define FUSED(x, v, sum) (Vector) _mm512_fmadd_ps(_mm512_set1_ps(x), (__m512)(v), (__m512)(sum))
#elif defined(__AVX__) && defined(__FMA__)
#define FUSED(x, v, sum) (Vector) _mm256_fmadd_ps(_mm256_set1_ps(x), (__m256)(v), (__m256)(sum))
#elif defined(__aarch64__)
#define FUSED(x, v, sum) (Vector) vfmaq_n_f32((float32x4_t)(sum), (float32x4_t)(v), x)
#else
#define FUSED(x, v, sum) (sum) + (x) * (v)
#endif

/* Some rows of a strip of VECTORS * LANES columns; a tile of ROWS x VECTORS sums stays in registers
   while the depth goes by. Returns the rows that are left.
   a (rows, depth), b (depth, columns) and *out (rows, columns) from the strip on, bias (strip,) or
   none; a and *out are moved past the rows that are done. */
#define STRIP(NAME, ROWS, VECTORS)                                                                 \
    static int64_t NAME(int64_t rows, int64_t depth, int64_t columns, Matrix *a, const float *b,   \
                        const float *bias, float **out) {                                          \
        for (; rows >= ROWS; rows -= ROWS, a->at += ROWS * a->row, *out += ROWS * columns) {       \
            Vector sum[ROWS][VECTORS];                                                             \
            UNROLLED for (int i = 0; i < ROWS; i++) UNROLLED for (int j = 0; j < VECTORS; j++)     \
                sum[i][j] = bias ? *(const Vector *)(bias + j * LANES) : (Vector){0};              \
            const float *left = a->at, *right = b;                                                 \
            for (int64_t k = 0; k < depth; k++, left += a->column, right += columns)               \
                UNROLLED for (int i = 0; i < ROWS; i++) UNROLLED for (int j = 0; j < VECTORS; j++) \
                    sum[i][j] =                                                                    \
                        FUSED(left[i * a->row], *(const Vector *)(right + j * LANES), sum[i][j]);  \
            UNROLLED for (int i = 0; i < ROWS; i++) UNROLLED for (int j = 0; j < VECTORS; j++)     \
                *(Vector *)(*out + i * columns + j * LANES) = sum[i][j];                           \
        }                                                                                          \
        return rows;                                                                               \
    }

STRIP(high_and_wide, HIGH, 2)
STRIP(high, HIGH, 1)
STRIP(wide, 1, 2)
STRIP(single, 1, 1)

/* out (rows, columns) = a (rows, depth) b (depth, columns), plus bias (columns,) if there is one. */
static void product(int64_t rows, int64_t depth, int64_t columns, Matrix a, const float *b,
                    const float *bias, float *out) {
    under_way = PRODUCTS;
    for (int64_t n = 0, step; n < columns; n += step, b += step, out += step) {
        step = n + 2 * LANES <= columns ? 2 * LANES : LANES;
        const float *start = bias ? bias + n : 0;
        float *place = out;
        Matrix left = a;
        if (step == LANES) {
            int64_t rest = high(rows, depth, columns, &left, b, start, &place);
            single(rest, depth, columns, &left, b, start, &place);
        } else {
            int64_t rest = high_and_wide(rows, depth, columns, &left, b, start, &place);
            wide(rest, depth, columns, &left, b, start, &place);
        }
    }
    under_way = ELEMENTWISE;
}

/* A matrix (rows, columns) as it lies at `at`, row by row. */
static Matrix plain(const float *at, int64_t columns) { return (Matrix){at, columns, 1}; }

/* The matrix (columns, rows) that is the transpose of (rows, columns) at `at`. */
static Matrix transposed(const float *at, int64_t columns) { return (Matrix){at, 1, columns}; }

/* out (columns, out_columns) = from (rows, columns) transposed; out_columns beyond the rows stay as
   they are. 4 divides rows and columns. */
static void transpose(int64_t rows, int64_t columns, int64_t out_columns, const float *from,
                      float *out) {
    for (int64_t i = 0; i < rows; i += 4)
        for (int64_t j = 0; j < columns; j += 4) {
            const float *at = from + i * columns + j;
            Four a = *(Four *)at, b = *(Four *)(at + columns), c = *(Four *)(at + 2 * columns),
                 d = *(Four *)(at + 3 * columns);
            UNROLLED for (int q = 0; q < 4; q++)
                *(Four *)(out + (j + q) * out_columns + i) = (Four){a[q], b[q], c[q], d[q]};
        }
}

/* --- loss ----------------------------------------------------------------------------------- */

/* e to the x, a number each; x is held within -87 and 88. */
static inline float exponential(float x) { /* within 2 units in the last place of expf */
    x = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    float n = x * 1.44269504f + 12582912.0f; /* 1.5 * 2^23 rounds to an integer */
    union { float f; int32_t i; } scale = {n};
    n -= 12582912.0f;
    scale.i = (scale.i - 0x4b400000 + 127) << 23;
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float sum = 1.0f / 5040;
    sum = sum * r + 1.0f / 720;
    sum = sum * r + 1.0f / 120;
    sum = sum * r + 1.0f / 24;
    sum = sum * r + 1.0f / 6;
    sum = sum * r + 0.5f;
    return ((sum * r + 1.0f) * r + 1.0f) * scale.f;
}

/* log(1 + u), a number each. */
static inline float log_one_plus(float u) { /* 2 artanh(u / (2 + u)); u from 0 to 1 */
    float s = u / (2.0f + u), square = s * s, sum = 1.0f / 15;
    sum = sum * square + 1.0f / 13;
    sum = sum * square + 1.0f / 11;
    sum = sum * square + 1.0f / 9;
    sum = sum * square + 1.0f / 7;
    sum = sum * square + 1.0f / 5;
    sum = sum * square + 1.0f / 3;
    return 2.0f * s * (sum * square + 1.0f);
}

/* Focal loss of one side, a number; its derivative by the logit is added to slope (1,). Source:
   trainer/stack/losses.py. */
static inline float focal(float logit, float sign, float weight, float gamma, float *slope) {
    float wrong = logit * sign, u = exponential(-fabsf(wrong));
    float nats = (wrong < 0 ? 0 : wrong) + log_one_plus(u);
    float q = (wrong < 0 ? u : 1.0f) / (1.0f + u);
    float focus = weight * exponential(gamma * (wrong - nats));
    *slope += sign * focus * (q + gamma * (1.0f - q) * nats);
    return focus * nats;
}

/* The sum of a batch's losses; slopes (batch, columns) are their derivatives by the logits.
   logits, y (batch, columns); pos_weight, smoothing (columns,). */
static float losses(int64_t batch, int64_t columns, const float *logits, const float *y,
                    const float *pos_weight, const float *smoothing, float gamma, float share,
                    float *slopes) {
    float total = 0;
    for (int64_t row = 0; row < batch; row++, logits += columns, y += columns, slopes += columns)
#pragma omp simd reduction(+ : total)
        for (int64_t l = 0; l < columns; l++) {
            float half = smoothing[l] / 2, sign = y[l] > 0 ? -1.0f : 1.0f, slope = 0;
            float own = y[l] > 0 ? pos_weight[l] : 1.0f, other = y[l] > 0 ? 1.0f : pos_weight[l];
            total += focal(logits[l], sign, own * (1.0f - half) * share, gamma, &slope);
            total += focal(logits[l], -sign, other * half * share, gamma, &slope);
            slopes[l] = slope;
        }
    return total;
}

/* --- a step --------------------------------------------------------------------------------- */

/* A word, well mixed: each of its bits depends on all. */
static inline uint32_t mix(uint32_t word) {
    word = (word ^ word >> 16) * 0x7feb352d;
    word = (word ^ word >> 15) * 0x846ca68b;
    return word ^ word >> 16;
}

/* words (n,): those from `first` on that trainer/stack/draws.py gives a key. */
static void random_words(int64_t n, uint32_t first, uint32_t key, uint32_t *words) {
    for (int64_t i = 0; i < n; i++) words[i] = mix(mix(first + i) ^ key);
}

/* hidden (n,) = ReLU, then dropout: 0 where bytes (n,) < drop, else times scale. */
static void activate(int64_t n, const uint8_t *bytes, uint8_t drop, float scale, float *hidden) {
    for (int64_t i = 0; i < n; i++) {
        float positive = hidden[i] < 0 ? 0 : hidden[i] * scale;
        hidden[i] = bytes[i] < drop ? 0 : positive;
    }
}

/* hidden (n,) = ReLU. */
static void rectify(int64_t n, float *hidden) {
    for (int64_t i = 0; i < n; i++) hidden[i] = hidden[i] < 0 ? 0 : hidden[i];
}

/* slope (n,) = 0 where hidden (n,) is, as both ReLU and dropout have it, else times scale. */
static void pass_back(int64_t n, const float *hidden, float scale, float *slope) {
    for (int64_t i = 0; i < n; i++) slope[i] = hidden[i] <= 0 ? 0 : slope[i] * scale;
}

/* out (kept,) = the sums of the first columns of from (rows, columns). */
static void sum_rows(int64_t rows, int64_t columns, int64_t kept, const float *from, float *out) {
    memset(out, 0, kept * sizeof(float));
    for (int64_t row = 0; row < rows; row++, from += columns)
        for (int64_t j = 0; j < kept; j++) out[j] += from[j];
}

/* The sum of the squares of values (n,); 64 divides n. */
static float squares(int64_t n, const float *values) {
    float sums[64] = {0}, total = 0;
    for (int64_t i = 0; i < n; i += 64)
        for (int64_t j = 0; j < 64; j++) sums[j] += values[i + j] * values[i + j];
    for (int64_t j = 0; j < 64; j++) total += sums[j];
    return total;
}

/* AdamW as trainer/stack/optimizer.py has it: of gradients (n,) and a member's n parameters. */
static void update(int64_t n, const Member *member, const float *gradients) {
    float *parameters = member->parameters, *mean = member->mean, *square = member->square;
    float norm = sqrtf(squares(n, gradients)) / member->max_norm, shrink = norm > 1 ? 1 / norm : 1;
    double steps = *member->steps += 1;
    float rate = member->lr / (1 - pow(BETA1, steps));
    float root = 1 / sqrt(1 - pow(BETA2, steps)), decay = 1 - member->lr * member->weight_decay;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) { /* loads first: a store may stall loads 4,096 bytes apart */
        float gradient = gradients[i] * shrink, m = mean[i], v = square[i], p = parameters[i];
        m += (gradient - m) * (1 - BETA1);
        v = v * BETA2 + gradient * gradient * (1 - BETA2);
        mean[i] = m, square[i] = v;
        parameters[i] = p * decay - rate * m / (sqrtf(v) * root + EPSILON);
    }
}

typedef struct {
    float *weight, /* (inputs, outputs), the last layer's (outputs, inputs) */
        *bias;     /* (outputs,) */
    int64_t inputs, outputs;
} Layer;

/* Layer i of flat parameters or gradients (parameters,). */
static Layer layer_of(const Sizes *sizes, float *flat, int64_t i) {
    for (int64_t at = 0;; at++) {
        int64_t inputs = at ? sizes->hidden : sizes->inputs;
        int64_t outputs = at < sizes->layers ? sizes->hidden : sizes->outputs;
        if (at == i) return (Layer){flat, flat + inputs * outputs, inputs, outputs};
        flat += (inputs + 1) * outputs;
    }
}

/* Where a step keeps what it computes. */
typedef struct {
    float *x,                      /* (batch, inputs) */
        *y,                        /* (batch, columns) */
        *hidden,                   /* (layers, batch, hidden) */
        *logits,                   /* (batch, columns) */
        *slopes, *spare,           /* (batch, columns) or (batch, hidden), in turn */
        *turned,                   /* (hidden, hidden): weights or slopes, transposed */
        *last,                     /* (inputs or hidden, columns): the last layer's weights */
        *bias;                     /* (columns,): the last layer's */
    float *pos_weight, *smoothing, /* (columns,) each */
        *gradients,                /* (parameters,) */
        *words;                    /* (batch * hidden / 4,), each of 4 random bytes */
} Place;

/* The larger of two numbers. */
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* Lays out `place` from `at` on, if there is one; returns how many floats that takes. */
static int64_t lay_out(const Sizes *sizes, float *at, Place *place) {
    int64_t out = padded(sizes->outputs), hidden = sizes->batch * sizes->hidden;
    int64_t slopes = larger(sizes->batch * out, hidden);
    struct { float **start; int64_t size; } parts[] = {
        {&place->x, sizes->batch * sizes->inputs}, {&place->y, sizes->batch * out},
        {&place->hidden, sizes->layers * hidden},  {&place->logits, sizes->batch * out},
        {&place->slopes, slopes},                  {&place->spare, slopes},
        {&place->turned, sizes->hidden * sizes->hidden},
        {&place->last, larger(sizes->inputs, sizes->hidden) * out},
        {&place->bias, out}, {&place->pos_weight, out}, {&place->smoothing, out},
        {&place->gradients, sizes->parameters}, {&place->words, hidden / 4},
    };
    int64_t size = 0;
    for (uint64_t i = 0; i < sizeof(parts) / sizeof(*parts); size += parts[i++].size)
        if (at) *parts[i].start = at + size;
    return size;
}

/* Forward from place.x (batch, inputs) to place.logits (batch, columns). */
static void forward(const Sizes *sizes, const Member *member, Place place, int64_t step,
                    uint32_t key) {
    float *reads = place.x, scale = 256.0f / (256 - member->drop);
    int64_t units = sizes->batch * sizes->hidden;
    uint32_t *words = (uint32_t *)place.words;
    for (int64_t i = 0; i < sizes->layers; i++) {
        Layer layer = layer_of(sizes, member->parameters, i);
        float *hidden = place.hidden + i * units;
        product(sizes->batch, layer.inputs, layer.outputs, plain(reads, layer.inputs),
                layer.weight, layer.bias, hidden);
        if (member->drop) {
            random_words(units / 4, (step * sizes->layers + i) * units / 4, key, words);
            activate(units, (uint8_t *)words, member->drop, scale, hidden);
        } else
            rectify(units, hidden);
        reads = hidden;
    }
    Layer last = layer_of(sizes, member->parameters, sizes->layers);
    int64_t out = padded(sizes->outputs);
    transpose(last.outputs, last.inputs, out, last.weight, place.last);
    memcpy(place.bias, last.bias, last.outputs * sizeof(float));
    product(sizes->batch, last.inputs, out, plain(reads, last.inputs), place.last, place.bias,
            place.logits);
}

/* out (batch, inputs) = slopes (batch, outputs) times a hidden layer's weights (inputs, outputs),
   transposed. Turns what is smaller, the weights or both slopes, in `turned` (outputs, outputs). */
static void pass_through(int64_t batch, Layer layer, const float *slopes, float *turned,
                         float *out) {
    float *half = turned + layer.inputs * layer.outputs / 2;
    if (2 * batch <= layer.outputs && batch % LANES == 0) {
        transpose(batch, layer.outputs, batch, slopes, turned);
        product(layer.inputs, layer.outputs, batch, plain(layer.weight, layer.outputs), turned, 0,
                half);
        transpose(layer.inputs, batch, layer.inputs, half, out);
    } else {
        transpose(layer.inputs, layer.outputs, layer.inputs, layer.weight, turned);
        product(batch, layer.outputs, layer.inputs, plain(slopes, layer.outputs), turned, 0, out);
    }
}

/* Backward from place.slopes (batch, columns), those of the logits, to place.gradients
   (parameters,). */
static void backward(const Sizes *sizes, const Member *member, Place place) {
    float *slopes = place.slopes, *spare = place.spare, scale = 256.0f / (256 - member->drop);
    int64_t units = sizes->batch * sizes->hidden, columns = padded(sizes->outputs);
    for (int64_t i = sizes->layers; i >= 0; i--, columns = sizes->hidden) {
        Layer layer = layer_of(sizes, member->parameters, i);
        Layer gradient = layer_of(sizes, place.gradients, i);
        float *reads = i ? place.hidden + (i - 1) * units : place.x;
        if (i == sizes->layers)
            product(layer.outputs, sizes->batch, layer.inputs, transposed(slopes, columns), reads,
                    0, gradient.weight);
        else
            product(layer.inputs, sizes->batch, layer.outputs, transposed(reads, layer.inputs),
                    slopes, 0, gradient.weight);
        sum_rows(sizes->batch, columns, layer.outputs, slopes, gradient.bias);
        if (!i) return;
        if (i == sizes->layers)
            product(sizes->batch, layer.outputs, layer.inputs, plain(slopes, columns),
                    layer.weight, 0, spare);
        else
            pass_through(sizes->batch, layer, slopes, place.turned, spare);
        pass_back(units, place.hidden + (i - 1) * units, scale, spare);
        float *done = slopes;
        slopes = spare, spare = done;
    }
}

/* How many floats the scratch of `train` and `predict` must hold. */
int64_t scratch_floats(const Sizes *sizes) {
    Place place;
    return lay_out(sizes, 0, &place);
}

/* logits (rows, labels) of x (rows, inputs) by parameters (parameters,), sizes->batch rows at a
   time; scratch as in `train`. */
void predict(const Sizes *sizes, float *parameters, float *x, int64_t rows, float *logits,
             float *scratch) {
    Sizes part = *sizes;
    Place place;
    lay_out(sizes, scratch, &place);
    Member member = {.parameters = parameters};
    for (place.x = x; rows; rows -= part.batch, place.x += part.batch * part.inputs) {
        if (rows < part.batch) part.batch = rows;
        forward(&part, &member, place, 0, 0);
        for (int64_t row = 0; row < part.batch; row++, logits += part.labels)
            memcpy(logits, place.logits + row * padded(part.outputs), part.labels * sizeof(float));
    }
}

/* Train a member on `steps` batches of rows; the sum of its losses.

    x        (rows of the table, inputs)
    y        (rows of the table, outputs)  0 or 1, padding is 1
    rows     (steps, batch)  which of the table's rows
    key      of the units to drop
    scratch  `scratch_floats` of them, 0 before the first call */
float train(const Sizes *sizes, const Member *member, const float *x, const float *y,
            const int64_t *rows, int32_t key, int64_t steps, float *scratch) {
    Place place;
    int64_t out = padded(sizes->outputs);
    lay_out(sizes, scratch, &place);
    memcpy(place.pos_weight, member->pos_weight, sizes->outputs * sizeof(float));
    memcpy(place.smoothing, member->smoothing, sizes->outputs * sizeof(float));
    for (int64_t i = 0; i < sizes->batch * out; i++) place.y[i] = 1; /* where the weight is 0 */
    float total = 0, share = 1.0f / (sizes->batch * sizes->labels);
    for (int64_t step = 0; step < steps; step++, rows += sizes->batch) {
        under_way = GATHER;
        for (int64_t b = 0; b < sizes->batch; b++) {
            memcpy(place.x + b * sizes->inputs, x + rows[b] * sizes->inputs,
                   sizes->inputs * sizeof(float));
            memcpy(place.y + b * out, y + rows[b] * sizes->outputs,
                   sizes->outputs * sizeof(float));
        }
        forward(sizes, member, place, step, key);
        total += losses(sizes->batch, out, place.logits, place.y, place.pos_weight,
                        place.smoothing, member->gamma, share, place.slopes);
        backward(sizes, member, place);
        under_way = OPTIMIZER;
        update(sizes->parameters, member, place.gradients);
    }
    return total;
}
