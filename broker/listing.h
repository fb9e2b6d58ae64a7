// SPDX-License-Identifier: Apache-2.0
// Tables for the documentation, in Markdown, made from what the broker itself works with.
#pragma once

#include <stdio.h>

void listing_print_apis(FILE *out);
void listing_print_settings(FILE *out);
