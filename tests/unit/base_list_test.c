// SPDX-License-Identifier: Apache-2.0
#include "base/list.h"

#include <criterion/criterion.h>

struct item {
    int number;
    struct list node;
};

static void expect_numbers(struct list *head, const int *numbers, int count)
{
    int i = 0;
    list_each(node, head) {
        cr_assert_lt(i, count);
        cr_expect_eq(list_entry(node, struct item, node)->number, numbers[i++]);
        cr_expect_eq(node->next->prev, node);
        cr_expect_eq(node->prev->next, node);
    }
    cr_expect_eq(i, count);
}

static void fill(struct list *head, struct item *items, int first, int count)
{
    list_init(head);
    for (int i = 0; i < count; i++) {
        items[i].number = first + i;
        list_append(head, &items[i].node);
    }
}

Test(base, list_append_remove_pop)
{
    struct list head;
    struct item items[4];
    fill(&head, items, 1, 4);
    expect_numbers(&head, (const int[]){1, 2, 3, 4}, 4);
    list_remove(&items[1].node);
    list_remove(&items[1].node);
    expect_numbers(&head, (const int[]){1, 3, 4}, 3);
    list_append(&head, &items[1].node);
    expect_numbers(&head, (const int[]){1, 3, 4, 2}, 4);
    cr_expect_eq(list_pop(&head), &items[0].node);
    cr_expect(list_empty(&items[0].node), "a removed node points to itself");
    while (list_pop(&head))
        ;
    cr_expect(list_empty(&head));
    cr_expect_null(list_pop(&head));
}

Test(base, list_each_allows_removal)
{
    struct list head;
    struct item items[6];
    fill(&head, items, 0, 6);
    list_each(node, &head) {
        if (list_entry(node, struct item, node)->number % 2)
            list_remove(node);
    }
    expect_numbers(&head, (const int[]){0, 2, 4}, 3);
}

Test(base, list_splice)
{
    struct list a, b, none;
    struct item left[2], right[3];
    fill(&a, left, 1, 2);
    fill(&b, right, 10, 3);
    list_init(&none);
    list_splice(&a, &none);
    expect_numbers(&a, (const int[]){1, 2}, 2);
    list_splice(&a, &b);
    expect_numbers(&a, (const int[]){1, 2, 10, 11, 12}, 5);
    cr_expect(list_empty(&b));
    list_splice(&none, &a);
    expect_numbers(&none, (const int[]){1, 2, 10, 11, 12}, 5);
    cr_expect(list_empty(&a));
}
