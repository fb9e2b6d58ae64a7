// SPDX-License-Identifier: Apache-2.0
#include "broker/listing.h"

#include "broker/request.h"
#include "broker/settings.h"

void listing_print_apis(FILE *out)
{
    size_t count;
    const struct api *apis = registry_all(&count);
    fputs("| Key | API | Versions | Flexible from |\n|---|---|---|---|\n", out);
    for (size_t i = 0; i < count; i++) {
        const struct api *api = &apis[i];
        fprintf(out, "| %d | %s | %d-%d", api->key, api->name, api->min_version, api->max_version);
        if (api->advertised_min != api->min_version)
            fprintf(out, " (advertised from %d)", api->advertised_min);
        fprintf(out, " | %d |\n", api->flexible_version);
    }
}

static const char *type_name(enum setting_type type)
{
    switch (type) {
    case SETTING_BOOLEAN:
        return "boolean";
    case SETTING_STRING:
        return "string";
    case SETTING_INT:
        return "int";
    case SETTING_LONG:
        return "long";
    case SETTING_DOUBLE:
        return "double";
    case SETTING_LIST:
        return "list";
    }
    return "";
}

static void print_scope(FILE *out, enum setting_scope scope)
{
    fprintf(out, "| %s setting | Type | Default | What it does |\n|---|---|---|---|\n",
            scope == SETTING_BROKER ? "Broker" : "Topic");
    for (int id = 0; id < SETTING_COUNT; id++) {
        const struct setting *setting = setting_get((enum setting_id)id);
        if (setting->scope != scope)
            continue;
        const char *fallback = setting->fallback;
        if (!fallback)
            fallback = setting_get(setting->synonym)->name;
        fprintf(out, "| `%s` | %s | %s%s%s | %s |\n", setting->name, type_name(setting->type),
                *fallback ? "`" : "", fallback, *fallback ? "`" : "", setting->doc);
    }
}

void listing_print_settings(FILE *out)
{
    print_scope(out, SETTING_BROKER);
    fputc('\n', out);
    print_scope(out, SETTING_TOPIC);
}
