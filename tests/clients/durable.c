/* durable URL BLOCKS FIRST: writes blocks of growing sequence numbers, half of them with FUA, the others followed by SYNCHRONIZE CACHE,
 * and prints "BLOCK SEQUENCE" as soon as the target has said that they are stable. Ends when the connection does. */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

enum { BLOCK = 4096, GROUP = 4 };

static void fill(unsigned char *block, uint64_t sequence)
{
    for (int at = 0; at < BLOCK; at += 8)
        for (int byte = 0; byte < 8; byte++)
            block[at + byte] = sequence >> (8 * byte);
}

static int write_block(struct iscsi_context *iscsi, int lun, uint32_t lba, uint64_t sequence, int fua)
{
    static unsigned char block[BLOCK];
    fill(block, sequence);
    struct scsi_task *task = iscsi_write10_sync(iscsi, lun, lba, block, BLOCK, BLOCK, 0, 0, fua, 0, 0);
    int good = task && task->status == SCSI_STATUS_GOOD;
    if (task)
        scsi_free_scsi_task(task);
    return good;
}

static void told(uint32_t lba, uint64_t sequence)
{
    char line[64];
    int length = snprintf(line, sizeof line, "%" PRIu32 " %" PRIu64 "\n", lba, sequence);
    if (write(1, line, length) != length)
        exit(2);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    struct iscsi_context *iscsi = iscsi_create_context("iqn.2026-11.tests:durable");
    struct iscsi_url *url = iscsi_parse_full_url(iscsi, argv[1]);
    uint32_t blocks = strtoul(argv[2], NULL, 10);
    uint64_t sequence = strtoull(argv[3], NULL, 10);
    if (!url || !blocks)
        return 2;
    iscsi_set_targetname(iscsi, url->target);
    iscsi_set_session_type(iscsi, ISCSI_SESSION_NORMAL);
    iscsi_set_noautoreconnect(iscsi, 1);
    if (iscsi_full_connect_sync(iscsi, url->portal, url->lun))
        return 1;
    for (uint32_t lba = 0;; lba = (lba + GROUP) % blocks) {
        uint64_t first = sequence;
        int fua = (lba / GROUP) % 2;
        for (uint32_t i = 0; i < GROUP; i++, sequence++) {
            if (!write_block(iscsi, url->lun, (lba + i) % blocks, sequence, fua))
                return 0;
            if (fua)
                told((lba + i) % blocks, sequence);
        }
        if (fua)
            continue;
        struct scsi_task *task = iscsi_synchronizecache10_sync(iscsi, url->lun, 0, 0, 0, 0);
        if (!task || task->status != SCSI_STATUS_GOOD)
            return 0;
        scsi_free_scsi_task(task);
        for (uint32_t i = 0; i < GROUP; i++)
            told((lba + i) % blocks, first + i);
    }
}
