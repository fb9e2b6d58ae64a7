// SPDX-License-Identifier: Apache-2.0
// Compiled, not run: the header as C++ sees it.
#include <weir.h>

int produce_one(weir_producer *producer);

int produce_one(weir_producer *producer)
{
    weir_message message = {};
    message.value = weir_text("hello from C++");
    return weir_produce(producer, "greetings", WEIR_ANY_PARTITION, &message);
}
