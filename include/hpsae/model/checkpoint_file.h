/*
 * The inside of a model file: what the writer, the reader and the search for a usable one share.
 */
#ifndef HPSAE_MODEL_CHECKPOINT_FILE_H
#define HPSAE_MODEL_CHECKPOINT_FILE_H

#include "hpsae/model/checkpoint.h"

#include <hdf5.h>
#include <stdbool.h>

/*
 * Version 1 had no selection: such a file is read as a TopK dictionary.  Version 3 is version 2 with whitening, and written
 * only where there is one.
 */
enum { HPS_DATASET_NAME = 32, HPS_MODEL_FILE_VERSION = 3, HPS_MODEL_FILE_SELECTS = 2, HPS_MODEL_FILE_WHITENED = 3 };

/* Local.  "/value/W_enc" and so on. */
void hps_checkpoint_dataset(hps_role role, hps_tensor tensor, char name[HPS_DATASET_NAME]);

/* Local.  Shape of a tensor in the file: its dimensions, 1 or 2, into size; returns how many. */
int hps_checkpoint_shape(int64_t n, int64_t d, hps_tensor tensor, hsize_t size[2]);

/* Local.  Puts "PATH: " before the words of a failure and returns its code. */
hps_status hps_checkpoint_at(const char *path, hps_status status);

/* Local.  Writes the attributes of the root group, `complete` = 0 among them, and the configuration's text. */
hps_status hps_head_write(hid_t file, const hps_checkpoint_head *head);

/*
 * Local.  The part of the head that says how the model selects: between head and model, to and from the attributes of a
 * file of this version (defaults where it has none), and into the head's checksum.  Errors: HPS_EIO, HPS_EFORMAT.
 */
void hps_head_take_selection(const hps_model *model, hps_checkpoint_head *head);
void hps_head_give_selection(const hps_checkpoint_head *head, hps_model *model);
hps_status hps_head_write_selection(hid_t file, const hps_checkpoint_head *head);
hps_status hps_head_read_selection(hid_t file, int64_t version, hps_checkpoint_head *head);
uint64_t hps_head_selection_checksum(const hps_checkpoint_head *head, uint64_t before);

/* Local.  Reads and checks the head of a model file, in this process alone; errors as hps_checkpoint_read_head. */
hps_status hps_head_read(const char *path, hps_checkpoint_head *head);

/* Collective over comm.  Opens a file on all ranks through MPI-IO; flags as H5Fopen.  Error: HPS_EIO, agreed. */
hps_status hps_checkpoint_open_all(MPI_Comm comm, const char *path, unsigned flags, hid_t *file);

/*
 * Collective over comm, the model's ranks.  Moves one tensor, or the dead counters, between the model and its dataset
 * in a file from hps_checkpoint_open_all, by collective transfers of at most hps_checkpoint_round_bytes (32 MiB, the
 * same on every rank; tests make it small) a rank.  Error: HPS_EIO, agreed.
 */
extern int64_t hps_checkpoint_round_bytes;
typedef enum { HPS_TO_FILE, HPS_FROM_FILE } hps_direction;
hps_status hps_checkpoint_move(MPI_Comm comm, hid_t file, const hps_model *model, hps_role role, hps_tensor tensor,
                               hps_direction direction);
hps_status hps_checkpoint_move_fired(MPI_Comm comm, hid_t file, const hps_model *model, hps_direction direction);

/* Checksums of all datasets; 0 for those that are not there. */
typedef struct {
    uint64_t tensor[HPS_ROLES][HPS_TENSORS], fired;
} hps_checkpoint_sums;

/* Collective over comm, the model's ranks.  Those of a model, the same on every rank. */
void hps_checkpoint_add_up(MPI_Comm comm, const hps_model *model, hps_checkpoint_sums *sums);

/* Local.  Of the values' four tensors: hps_checksum.values. */
uint64_t hps_checkpoint_sum_values(const hps_checkpoint_sums *sums);

/*
 * Local.  Compares sums with those that the file states, for the roles of a bit mask (`fired` with HPS_MOMENT1).  The
 * file may be open in any way.  Error: HPS_EFORMAT "damaged: the checksum of /value/W_enc differs".
 */
hps_status hps_checkpoint_compare(hid_t file, unsigned roles, const hps_checkpoint_sums *sums);

/*
 * Collective over comm.  Reads every dataset, shared over the ranks by rows, and compares its checksum.  Errors:
 * HPS_EFORMAT naming the first dataset that is damaged, HPS_EIO, HPS_ENOMEM.
 */
hps_status hps_checkpoint_verify(MPI_Comm comm, const char *path, const hps_checkpoint_head *head);

#endif
